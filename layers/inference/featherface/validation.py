"""Proof that a model file is the published one, over the very bytes that will run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from featherface.errors import ModelHashError, ModelManifestError, ModelStructureError, ParameterCountError
from featherface.packages import Manifest, ModelFile, ModelPackage, load_manifest
from featherface.structure import describe

__all__ = [
    "ARCHITECTURES",
    "Check",
    "ValidatedModel",
    "check_model",
    "describe",
    "identify",
    "load_validated",
    "read_model",
    "validate_deployment_model",
]

_LEVELS: Final = ("classifications", "bbox_regressions", "landmarks")

# What both models have: two BiFPN cells of four nodes, and two priors a cell in the heads.
_COMMON: Final[Mapping[str, Any]] = {
    "inputs": ["input"],
    "outputs": list(_LEVELS),
    "cbam_spatial_gates": 6,
    "bifpn_fusion_inputs": [2, 2, 3, 2] * 2,
    "head_outputs": {"classifications": [4] * 3, "bbox_regressions": [8] * 3, "landmarks": [20] * 3},
}

ARCHITECTURES: Final[Mapping[str, Mapping[str, Any]]] = {
    "v1": {
        **_COMMON,
        "parameters": 487_103,
        "cbam_channel_gates": [[64, 1], [128, 2], [256, 5], [74, 1], [74, 1], [74, 1]],
        "cbam_channel_gate_biases": True,
        "cbam_spatial_gate_weights": 6,
        "bifpn_fusion_vectors": [2, 2, 3, 3] * 2,
        "bifpn_convolutions": 8,
        "grouped_convolutions": {},
        "channel_shuffles": {"2": 3},
        "head_inputs": dict.fromkeys(_LEVELS, [74] * 3),
    },
    "nano": {
        **_COMMON,
        "parameters": 344_254,
        "cbam_channel_gates": [[64, 4], [128, 4], [256, 8], [64, 4], [64, 4], [64, 4]],
        "cbam_channel_gate_biases": False,
        "cbam_spatial_gate_weights": 2,
        "bifpn_fusion_vectors": [3, 3],
        "bifpn_convolutions": 2,
        "grouped_convolutions": {"4": 15},
        "channel_shuffles": {"4": 3},
        "head_inputs": dict.fromkeys(_LEVELS, [32] * 3),
    },
}
"""Facts of `describe` that make a graph the published architecture (Kim et al., Electronics 2025, 14(3),
517).

Written down here and not only in the manifest, so that a model and a manifest that were changed together
still fail.
"""


class Check(NamedTuple):
    """One thing that was proved.

    Parameters
    ----------
    name : str
        What was compared.
    detail : str
        The value that was found, for people.
    """

    name: str
    detail: str


class ValidatedModel(NamedTuple):
    """A model's bytes and what was proved about them.

    Parameters
    ----------
    data : bytes
        The ONNX model: make the session from these.
    package : ModelPackage
    precision : {"fp32", "int8"}
    sha256 : str
        Of `data`.
    checks : tuple of Check
        What was proved, in order.
    """

    data: bytes
    package: ModelPackage
    precision: str
    sha256: str
    checks: tuple[Check, ...]


def validate_deployment_model(
    path: str | Path,
    *,
    manifest: Manifest | None = None,
    model: str | None = None,
    precision: str | None = None,
) -> ValidatedModel:
    """Prove that a file is a published model.

    Parameters
    ----------
    path : str or Path
        The ONNX file, wherever it lies.
    manifest : Manifest, optional
        What to compare with; the installed models' manifest if omitted.
    model, precision : str, optional
        Which of the manifest's files it should be; told by the file's name if omitted.

    Returns
    -------
    ValidatedModel

    Raises
    ------
    ModelManifestError
        The manifest does not list the file, or one of both cannot be read.
    ModelHashError
        It has another size or SHA-256.
    ParameterCountError
        It has another number of trainable parameters.
    ModelStructureError
        Its graph is another architecture.
    """
    path = Path(path)
    package, kind = identify(path, manifest or load_manifest(), model, precision)
    return _validate(path, package, kind)


def identify(
    path: Path, manifest: Manifest, model: str | None = None, precision: str | None = None
) -> tuple[ModelPackage, str]:
    """Tell which of the manifest's models a file should be, and in which precision.

    Parameters
    ----------
    path : Path
        Its name decides, unless both `model` and `precision` are given.
    manifest : Manifest
    model, precision : str, optional
        Narrow the choice.

    Raises
    ------
    ModelManifestError
        There is no such file in the manifest, or more than one.
    """
    listed = [
        (package.key, kind, file.path.name)
        for package in manifest.models.values()
        for kind, file in package.files.items()
        if kind != "checkpoint"
    ]
    called = [(key, kind) for key, kind, name in listed if name == path.name]
    meant = [(key, kind) for key, kind, _ in listed] if None not in (model, precision) else called
    named = [(key, kind) for key, kind in meant if model in (None, key) and precision in (None, kind)]
    if len(named) == 1:
        key, kind = named[0]
        return manifest.package(key), kind
    if len(called) == 1 and None in (model, precision):
        raise ModelManifestError(
            f"{path} is by its name {called[0][0]} {called[0][1]}, not {model or precision}; give both the "
            "model and the precision if the file was renamed"
        )
    names = ", ".join(sorted(name for _, _, name in listed)) or "none"
    raise ModelManifestError(
        f"the manifest in {manifest.folder} lists no model file {path.name!r}; it lists {names}. Name the "
        "model and the precision if the file was renamed"
    )


def load_validated(manifest: Manifest, model: str, precision: str) -> ValidatedModel:
    """Read a model of the manifest and prove it; raises as `validate_deployment_model`."""
    package = manifest.package(model)
    return _validate(package.file(precision).path, package, precision)


def check_model(
    data: bytes, package: ModelPackage, precision: str, *, path: Path | None = None
) -> Iterator[Check]:
    """Prove one thing after the other; the first that fails raises as `validate_deployment_model`.

    `path` is where the data come from, for the messages; the manifest's place of the file if omitted.
    A quantised file has no canonical parameter count or graph: its size and hash are compared, and that the
    manifest derives it from the very fp32 file that it lists.
    """
    file = package.file(precision)
    yield _check_size(data, file, path or file.path)
    yield _check_hash(data, file, path or file.path)
    if precision != "fp32":
        yield _check_origin(package, precision)
        return
    facts = describe(data)
    yield _check_parameters(facts, package)
    yield from _check_structure(facts, package)


def read_model(path: Path) -> bytes:
    """Return a model file's bytes; raises ModelManifestError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelManifestError(f"the model file {path} cannot be read: {error}") from error


def _validate(path: Path, package: ModelPackage, precision: str) -> ValidatedModel:
    data = read_model(path)
    checks = tuple(check_model(data, package, precision, path=path))
    return ValidatedModel(data, package, precision, package.file(precision).sha256, checks)


def _check_size(data: bytes, file: ModelFile, path: Path) -> Check:
    if len(data) != file.bytes:
        raise ModelHashError(
            f"{path} has {len(data):,} bytes, the manifest says {file.bytes:,}; restore the published file"
        )
    return Check("size", f"{len(data):,} bytes")


def _check_hash(data: bytes, file: ModelFile, path: Path) -> Check:
    digest = hashlib.sha256(data).hexdigest()
    if digest != file.sha256:
        raise ModelHashError(
            f"{path} has SHA-256 {digest}, the manifest says {file.sha256}; restore the published file"
        )
    return Check("SHA-256", digest)


def _check_origin(package: ModelPackage, precision: str) -> Check:
    origin, canonical = package.file(precision).derived_from, package.file("fp32").sha256
    if origin != canonical:
        raise ModelHashError(
            f"the {precision} file of {package.key} is derived from {origin}, but the manifest's fp32 file "
            f"is {canonical}; quantise it again"
        )
    return Check("derived from the fp32 file", canonical)


def _check_parameters(facts: Mapping[str, Any], package: ModelPackage) -> Check:
    if package.key not in ARCHITECTURES:
        raise ModelStructureError(
            f"no architecture is known for {package.key!r}; known are {', '.join(ARCHITECTURES)}"
        )
    found, published = facts["parameters"], ARCHITECTURES[package.key]["parameters"]
    for expected, source in ((package.parameters, "the manifest says"), (published, "published are")):
        if found != expected:
            raise ParameterCountError(
                f"{package.key} has {found:,} trainable parameters, {source} {expected:,}; "
                "restore the published file"
            )
    return Check("trainable parameters", f"{found:,}")


def _check_structure(facts: Mapping[str, Any], package: ModelPackage) -> Iterator[Check]:
    promised, architecture = package.structure, ARCHITECTURES[package.key]
    for name, found in facts.items():
        if name == "parameters":
            continue
        if name not in promised:
            raise ModelManifestError(
                f"the manifest's structure of {package.key} lacks {name!r}; write it with "
                "featherface.validation.describe"
            )
        for source, wanted in (("the manifest says", promised), ("the architecture has", architecture)):
            if name in wanted and found != wanted[name]:
                raise ModelStructureError(
                    f"{name} of {package.key} is {found}, {source} {wanted[name]}; restore the published file"
                )
        yield Check(name, str(found))
