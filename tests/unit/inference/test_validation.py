"""A model that was changed must not be served, whatever was changed along with it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from onnx import numpy_helper

from featherface import (
    Detector,
    ModelHashError,
    ModelManifestError,
    ModelStructureError,
    ParameterCountError,
    Settings,
)
from featherface.packages import Manifest, find_models_folder, load_manifest
from featherface.validation import ARCHITECTURES, describe, load_validated, validate_deployment_model

MODELS = ["nano", "v1"]
PARAMETERS = {"nano": 344_254, "v1": 487_103}


def _write_manifest(folder: Path, entries: dict[str, Any]) -> None:
    (folder / "manifest.json").write_text(json.dumps({"manifest_version": 1, "models": entries}))


def _entry(data: bytes, path: str, **changes: object) -> dict[str, Any]:
    facts = describe(data)
    digest = hashlib.sha256(data).hexdigest()
    return {
        "name": "test",
        "version": "1",
        "package": "p",
        "parameters": facts.pop("parameters"),
        "structure": facts,
        "files": {"fp32": {"path": path, "sha256": digest, "bytes": len(data)}},
        **changes,
    }


@pytest.fixture
def published(manifest: Manifest) -> Callable[[str], bytes]:
    return lambda name: manifest.package(name).file("fp32").path.read_bytes()


@pytest.mark.parametrize("name", MODELS)
def test_published_models_hold(name: str, manifest: Manifest) -> None:
    validated = load_validated(manifest, name, "fp32")
    assert hashlib.sha256(validated.data).hexdigest() == validated.sha256
    assert describe(validated.data)["parameters"] == PARAMETERS[name]
    assert {"size", "SHA-256", "trainable parameters", "channel_shuffles"} <= {
        c.name for c in validated.checks
    }


@pytest.mark.parametrize("name", MODELS)
def test_parameters_against_the_onnx_package(name: str, published: Callable[[str], bytes]) -> None:
    """All float initializers but BN statistics: the convention of the published counts."""
    graph = onnx.load_from_string(published(name)).graph
    padded = {n.output[0]: n.input[0] for n in graph.node if n.op_type == "Pad"}
    normalisations = [n for n in graph.node if n.op_type == "BatchNormalization"]
    statistics = {padded.get(i, i) for n in normalisations for i in n.input[3:]}
    ours = [
        t for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT and t.name not in statistics
    ]
    assert sum(int(np.prod(t.dims)) for t in ours if t.dims) == PARAMETERS[name]


@pytest.mark.parametrize("name", MODELS)
def test_facts_can_be_written_down(name: str, published: Callable[[str], bytes]) -> None:
    facts = describe(published(name))
    assert json.loads(json.dumps(facts)) == facts
    assert set(ARCHITECTURES[name]) <= set(facts)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(MODELS), where=st.floats(0, 1), bit=st.integers(0, 7))
def test_one_flipped_bit(name: str, where: float, bit: int, tmp_path: Path, manifest: Manifest) -> None:
    source = manifest.package(name).file("fp32").path
    data = bytearray(source.read_bytes())
    data[int(where * (len(data) - 1))] ^= 1 << bit
    tampered = tmp_path / source.name
    tampered.write_bytes(data)
    with pytest.raises(ModelHashError, match="SHA-256"):
        validate_deployment_model(tampered, manifest=manifest)


def test_one_byte_less(tmp_path: Path, manifest: Manifest) -> None:
    source = manifest.package("nano").file("fp32").path
    (tmp_path / source.name).write_bytes(source.read_bytes()[:-1])
    with pytest.raises(ModelHashError, match="bytes, the manifest says"):
        validate_deployment_model(tmp_path / source.name, manifest=manifest)


def test_wrong_count_in_the_manifest(tmp_path: Path, published: Callable[[str], bytes]) -> None:
    data = published("nano")
    (tmp_path / "m.onnx").write_bytes(data)
    _write_manifest(tmp_path, {"nano": _entry(data, "m.onnx", parameters=344_255)})
    with pytest.raises(ParameterCountError, match="344,254 trainable parameters, the manifest says 344,255"):
        load_validated(load_manifest(tmp_path), "nano", "fp32")


def test_a_model_under_another_s_name(tmp_path: Path, published: Callable[[str], bytes]) -> None:
    """Model and manifest changed together: the architecture in the code still says no."""
    data = published("v1")
    (tmp_path / "m.onnx").write_bytes(data)
    _write_manifest(tmp_path, {"nano": _entry(data, "m.onnx")})
    with pytest.raises(ParameterCountError, match="487,103 trainable parameters, published are 344,254"):
        load_validated(load_manifest(tmp_path), "nano", "fp32")


def test_an_unknown_architecture(tmp_path: Path, published: Callable[[str], bytes]) -> None:
    data = published("v1")
    (tmp_path / "m.onnx").write_bytes(data)
    _write_manifest(tmp_path, {"v2": _entry(data, "m.onnx")})
    with pytest.raises(ModelStructureError, match="no architecture is known for 'v2'; known are v1, nano"):
        load_validated(load_manifest(tmp_path), "v2", "fp32")


def _unshuffled(graph: onnx.GraphProto) -> None:
    for node in [n for n in graph.node if n.op_type == "Gather" and any(a.i == 1 for a in n.attribute)][:1]:
        for other in graph.node:
            other.input[:] = [node.input[0] if name == node.output[0] else name for name in other.input]
        graph.node.remove(node)


def _ungrouped(graph: onnx.GraphProto) -> None:
    """Fewer groups with the same weights: wider outputs are cut, the count stays."""
    conv = next(
        n
        for n in graph.node
        if n.op_type == "Conv" and any(a.name == "group" and a.i == 4 for a in n.attribute)
    )
    next(a for a in conv.attribute if a.name == "group").i = 2


def _other_gate_pooling(graph: onnx.GraphProto) -> None:
    next(n for n in graph.node if n.op_type == "ReduceMax").op_type = "ReduceMean"


def _unweighted_fusion(graph: onnx.GraphProto) -> None:
    add = next(n for n in graph.node if n.op_type == "Sigmoid" and _is_fusion(graph, n))
    total = next(n for n in graph.node if add.input[0] in n.output)
    weighted = next(n for n in graph.node if total.input[0] in n.output)
    total.input[0] = weighted.input[1]


def _is_fusion(graph: onnx.GraphProto, sigmoid: onnx.NodeProto) -> bool:
    made = next((n for n in graph.node if sigmoid.input[0] in n.output), None)
    terms = [n for n in graph.node if made is not None and set(n.output) & set(made.input)]
    return (
        made is not None
        and made.op_type == "Add"
        and len(terms) == 2
        and all(n.op_type == "Mul" for n in terms)
    )


def _swapped_heads(graph: onnx.GraphProto) -> None:
    joins = {n.output[0]: n for n in graph.node if n.output[0] in ("bbox_regressions", "landmarks")}
    joins["bbox_regressions"].output[0], joins["landmarks"].output[0] = "landmarks", "bbox_regressions"


def _other_activation(graph: onnx.GraphProto) -> None:
    next(n for n in graph.node if n.op_type == "Relu").op_type = "Sigmoid"


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        (_unshuffled, "channel_shuffles"),
        (_ungrouped, "grouped_convolutions"),
        (_other_gate_pooling, "cbam_channel_gates"),
        (_unweighted_fusion, "bifpn_fusion_inputs"),
        (_swapped_heads, "head_"),
        (_other_activation, "operators"),
    ],
)
def test_another_graph_with_the_same_parameters(
    change: Callable[[onnx.GraphProto], None],
    fact: str,
    tmp_path: Path,
    published: Callable[[str], bytes],
) -> None:
    original = published("nano")
    model = onnx.load_from_string(original)
    change(model.graph)
    data = model.SerializeToString()
    assert data != original
    (tmp_path / "m.onnx").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    file = {"fp32": {"path": "m.onnx", "sha256": digest, "bytes": len(data)}}
    _write_manifest(tmp_path, {"nano": _entry(original, "m.onnx", files=file)})
    with pytest.raises(ModelStructureError) as caught:
        load_validated(load_manifest(tmp_path), "nano", "fp32")
    found = describe(data)
    differing = [name for name in found if found[name] != describe(original)[name]]
    assert any(name.startswith(fact) for name in differing)
    assert differing[0] in str(caught.value)


def test_weights_outside_of_the_architecture(published: Callable[[str], bytes]) -> None:
    model = onnx.load_from_string(published("nano"))
    extra = numpy_helper.from_array(np.ones(3, dtype=np.float32), "backdoor")
    model.graph.initializer.append(extra)
    with pytest.raises(
        ModelStructureError, match="belong to no part of the architecture, such as 'backdoor'"
    ):
        describe(model.SerializeToString())


def test_only_paddings_with_zeros_are_looked_through(published: Callable[[str], bytes]) -> None:
    model = onnx.load_from_string(published("nano"))
    graph = model.graph
    first = next(node for node in graph.node if node.op_type == "Conv")
    weight = next(t for t in graph.initializer if t.name == first.input[1])
    ends = numpy_helper.from_array(np.array([0, 0, 0, 0, 8, 0, 0, 0]), "ends")
    ones = numpy_helper.from_array(np.array(1, np.float32), "ones")
    graph.initializer.extend([ends, ones])
    pad = onnx.helper.make_node("Pad", [weight.name, "ends"], ["padded"])
    graph.node.insert(0, pad)
    first.input[1] = "padded"
    assert describe(model.SerializeToString()) == describe(published("nano"))
    graph.node[0].input.append("ones")
    with pytest.raises(ModelStructureError, match="belong to no part of the architecture"):
        describe(model.SerializeToString())


def test_a_manifest_that_leaves_facts_out(tmp_path: Path, published: Callable[[str], bytes]) -> None:
    data = published("nano")
    (tmp_path / "m.onnx").write_bytes(data)
    _write_manifest(tmp_path, {"nano": _entry(data, "m.onnx", structure={})})
    with pytest.raises(ModelManifestError, match="lacks 'opset'; write it with featherface"):
        load_validated(load_manifest(tmp_path), "nano", "fp32")


def _quantised(tmp_path: Path, data: bytes, derived_from: str | None) -> Manifest:
    int8 = b"quantised"
    (tmp_path / "m.onnx").write_bytes(data)
    (tmp_path / "q.onnx").write_bytes(int8)
    entry = _entry(data, "m.onnx")
    entry["files"]["int8"] = {
        "path": "q.onnx",
        "sha256": hashlib.sha256(int8).hexdigest(),
        "bytes": len(int8),
        **({"derived_from": derived_from} if derived_from else {}),
    }
    _write_manifest(tmp_path, {"nano": entry})
    return load_manifest(tmp_path)


def test_a_quantised_file_belongs_to_its_original(tmp_path: Path, published: Callable[[str], bytes]) -> None:
    data = published("nano")
    digest = hashlib.sha256(data).hexdigest()
    validated = load_validated(_quantised(tmp_path, data, digest), "nano", "int8")
    assert [check.name for check in validated.checks] == ["size", "SHA-256", "derived from the fp32 file"]
    for other in (None, "0" * 64):
        with pytest.raises(ModelHashError, match="quantise it again"):
            load_validated(_quantised(tmp_path, data, other), "nano", "int8")


def test_a_tampered_model_is_not_loaded(
    tmp_path: Path, published: Callable[[str], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = published("nano")
    _write_manifest(tmp_path, {"nano": _entry(data, "m.onnx")})
    (tmp_path / "m.onnx").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    monkeypatch.setenv("FEATHERFACE_MODELS", str(tmp_path))
    with pytest.raises(ModelHashError):
        Detector.load(settings=Settings(device="cpu"))


# ---------------------------------------------------------------- manifests


def test_models_folder_from_the_environment(tmp_path: Path) -> None:
    _write_manifest(tmp_path, {})
    assert find_models_folder({"FEATHERFACE_MODELS": str(tmp_path)}) == tmp_path


def test_a_named_folder_is_never_passed_over(tmp_path: Path) -> None:
    with pytest.raises(ModelManifestError, match="FEATHERFACE_MODELS names that folder"):
        find_models_folder({"FEATHERFACE_MODELS": str(tmp_path)})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "cannot be read"),
        ("[]", "incomplete or mistyped"),
        ("{}", "KeyError: 'manifest_version'"),
        ('{"manifest_version": 2, "models": {}}', "has version 2; this package reads 1"),
        ('{"manifest_version": 1, "models": {"nano": {"name": 3}}}', "name must be of type str, got 3"),
        ('{"manifest_version": 1, "models": [1]}', "incomplete or mistyped"),
    ],
)
def test_broken_manifests(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ModelManifestError, match=reason):
        load_manifest(tmp_path)


@pytest.mark.parametrize("path", ["../m.onnx", "/etc/m.onnx", "a/../../m.onnx"])
def test_files_stay_inside_the_models_folder(
    path: str, tmp_path: Path, published: Callable[[str], bytes]
) -> None:
    _write_manifest(tmp_path, {"nano": _entry(published("nano"), path)})
    with pytest.raises(ModelManifestError, match="must stay inside the models folder"):
        load_manifest(tmp_path)


def test_hashes_must_be_hashes(tmp_path: Path, published: Callable[[str], bytes]) -> None:
    entry = _entry(published("nano"), "m.onnx")
    entry["files"]["fp32"]["sha256"] = "ABC"
    _write_manifest(tmp_path, {"nano": entry})
    with pytest.raises(ModelManifestError, match="64 lower-case hexadecimal digits"):
        load_manifest(tmp_path)


def test_unknown_names_are_answered_with_the_known(manifest: Manifest, tmp_path: Path) -> None:
    with pytest.raises(ModelManifestError, match="has no model 'big'; it lists nano, v1"):
        manifest.package("big")
    with pytest.raises(ModelManifestError, match="has no int4 file"):
        manifest.package("nano").file("int4")
    with pytest.raises(
        ModelManifestError, match=r"lists no model file 'other.onnx'; it lists featherface_nano.*onnx"
    ):
        validate_deployment_model(tmp_path / "other.onnx", manifest=manifest)


def test_a_renamed_file_can_be_named(tmp_path: Path, manifest: Manifest) -> None:
    renamed = tmp_path / "anything.onnx"
    renamed.write_bytes(manifest.package("v1").file("fp32").path.read_bytes())
    validated = validate_deployment_model(renamed, manifest=manifest, model="v1", precision="fp32")
    assert validated.package.key == "v1"


def test_a_missing_file(tmp_path: Path, manifest: Manifest) -> None:
    name = manifest.package("v1").file("fp32").path.name
    with pytest.raises(ModelManifestError, match="cannot be read"):
        validate_deployment_model(tmp_path / name, manifest=manifest)


def test_checks_are_values(manifest: Manifest) -> None:
    first = load_validated(manifest, "nano", "fp32").checks[0]
    assert first._asdict() == {"name": "size", "detail": first.detail}
