from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import onnx
import onnx.helper as oh
import pytest
from hypothesis import given, settings
from onnx import AttributeProto, TensorProto, numpy_helper

from featherface import ModelIntegrityError, ModelStructureError
from featherface.onnx_reader import Tensor, read_onnx
from featherface.packages import Manifest
from featherface.structure import describe

MODELS = ["nano", "v1"]


@pytest.fixture(scope="module")
def files(manifest: Manifest) -> dict[str, Path]:
    return {name: manifest.package(name).file("fp32").path for name in MODELS}


@pytest.mark.parametrize("name", MODELS)
def test_against_the_onnx_package(name: str, files: dict[str, Path]) -> None:
    ours, theirs = read_onnx(files[name].read_bytes()), onnx.load(files[name])
    assert ours.opset == theirs.opset_import[0].version
    assert ours.inputs == tuple(value.name for value in theirs.graph.input)
    assert ours.outputs == tuple(value.name for value in theirs.graph.output)
    assert {t.name: (t.dims, t.data_type) for t in ours.initializers.values()} == {
        t.name: (tuple(t.dims), t.data_type) for t in theirs.graph.initializer
    }
    assert len(ours.nodes) == len(theirs.graph.node)
    for mine, other in zip(ours.nodes, theirs.graph.node, strict=True):
        assert (mine.op_type, mine.name) == (other.op_type, other.name)
        assert (mine.inputs, mine.outputs) == (tuple(other.input), tuple(other.output))
        assert set(mine.attributes) == {attribute.name for attribute in other.attribute}
        for attribute in other.attribute:
            _assert_same(mine.attributes[attribute.name], attribute)


def _assert_same(mine: object, other: AttributeProto) -> None:
    value = oh.get_attribute_value(other)
    if isinstance(mine, Tensor):
        assert mine.dims == tuple(value.dims)
        if mine.integers:
            assert mine.integers == tuple(numpy_helper.to_array(value).reshape(-1).tolist())
    elif isinstance(mine, tuple):
        assert list(mine) == [item.decode() if isinstance(item, bytes) else item for item in value]
    else:
        assert mine == (value.decode() if isinstance(value, bytes) else value)


def _model(**graph_parts: list[object]) -> onnx.ModelProto:
    value = oh.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    nodes = graph_parts.pop("nodes", [oh.make_node("Identity", ["x"], ["y"])])
    return oh.make_model(
        oh.make_graph(
            nodes, "g", [value], [oh.make_tensor_value_info("y", TensorProto.FLOAT, [1])], **graph_parts
        )
    )


integers64 = st.integers(-(2**63), 2**63 - 1)
attributes = st.one_of(
    integers64,
    st.floats(width=32, allow_nan=False),
    st.text(max_size=20),
    st.lists(integers64, min_size=1, max_size=9),
    st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=9),
    st.lists(st.text(max_size=9), min_size=1, max_size=5),
)


@given(attributes)
def test_attributes_of_every_kind(value: object) -> None:
    node = oh.make_node("Identity", ["x"], ["y"])
    node.attribute.append(oh.make_attribute("a", value))
    _assert_same(
        read_onnx(_model(nodes=[node]).SerializeToString()).nodes[0].attributes["a"], node.attribute[0]
    )


@given(
    st.lists(st.integers(0, 4), max_size=4),
    st.sampled_from([np.float32, np.int64, np.int32, np.uint8, np.float16, np.float64, np.bool_]),
)
def test_tensors_of_every_shape(dims: list[int], kind: type) -> None:
    array = np.arange(np.prod(dims, dtype=int)).reshape(dims).astype(kind)
    tensor = read_onnx(
        _model(initializer=[numpy_helper.from_array(array, "t")]).SerializeToString()
    ).initializers["t"]
    assert tensor.dims == tuple(dims)
    assert tensor.elements == array.size
    assert tensor.is_float == (kind is np.float32)
    assert tensor.integers == (tuple(array.reshape(-1).tolist()) if kind in (np.int64, np.int32) else ())


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32])
def test_tensors_that_are_not_raw(kind: int) -> None:
    tensor = read_onnx(
        _model(initializer=[oh.make_tensor("t", kind, [3], [1, -2, 3])]).SerializeToString()
    ).initializers["t"]
    assert tensor.elements == 3
    assert tensor.integers == (() if kind == TensorProto.FLOAT else (1, -2, 3))


def test_inputs_leave_out_initializers() -> None:
    model = _model(initializer=[oh.make_tensor("w", TensorProto.FLOAT, [1], [1.0])])
    model.graph.input.append(oh.make_tensor_value_info("w", TensorProto.FLOAT, [1]))
    assert read_onnx(model.SerializeToString()).inputs == ("x",)


def _external() -> onnx.ModelProto:
    tensor = oh.make_tensor("t", TensorProto.FLOAT, [1], [1.0])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    return _model(initializer=[tensor])


def _lying() -> onnx.ModelProto:
    tensor = oh.make_tensor("t", TensorProto.FLOAT, [3], [1.0, 2.0, 3.0])
    tensor.dims[0] = 4
    return _model(initializer=[tensor])


def _twice() -> onnx.ModelProto:
    return _model(initializer=[oh.make_tensor("t", TensorProto.FLOAT, [1], [1.0])] * 2)


def _subgraph() -> onnx.ModelProto:
    node = oh.make_node("If", ["x"], ["y"], then_branch=_model().graph, else_branch=_model().graph)
    return _model(nodes=[node])


def _function() -> onnx.ModelProto:
    model = _model()
    body = [oh.make_node("Identity", ["a"], ["b"])]
    model.functions.append(oh.make_function("local", "f", ["a"], ["b"], body, [oh.make_opsetid("", 17)]))
    return model


def _negative() -> onnx.ModelProto:
    tensor = oh.make_tensor("t", TensorProto.FLOAT, [1], [1.0])
    tensor.dims[:] = [-1, -1]
    return _model(initializer=[tensor])


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_external, "external data"),
        (_lying, "does not hold 4 elements"),
        (_twice, "two initializers have the name 't'"),
        (_subgraph, "subgraphs"),
        (_function, "local functions"),
        (_negative, "impossible shape"),
        (lambda: onnx.ModelProto(), "there must be one graph, not 0"),
    ],
)
def test_what_could_hide_weights_is_refused(make: object, reason: str) -> None:
    with pytest.raises(ModelStructureError, match=reason):
        read_onnx(make().SerializeToString())  # type: ignore[operator]


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"\x3a", b"\x3a\xff", b"not a model", b"\xff" * 30, b"\x3a\x05abc"]
)
def test_what_is_no_model(data: bytes) -> None:
    with pytest.raises(ModelStructureError, match="not an ONNX model that can be validated"):
        read_onnx(data)


def _attempt(data: bytes) -> None:
    with suppress(ModelIntegrityError):
        describe(data)


@settings(max_examples=200)
@given(st.binary(max_size=400))
def test_noise_gives_an_integrity_error(data: bytes) -> None:
    _attempt(data)


@settings(max_examples=200)
@given(name=st.sampled_from(MODELS), data=st.data())
def test_corruption_gives_an_answer_or_an_integrity_error(
    name: str, data: st.DataObject, files: dict[str, Path]
) -> None:
    """Never another exception, never a hang. Most bytes are weights, so the graph's are aimed at."""
    content = bytearray(files[name].read_bytes())
    names = [
        content.find(b"Conv"),
        content.find(b"Gather"),
        content.rfind(b"Reshape"),
        content.rfind(b"weight"),
    ]
    for _ in range(data.draw(st.integers(1, 6))):
        around = data.draw(st.sampled_from([*names, len(content) // 2, 40, len(content) - 200]))
        at = min(max(0, around + data.draw(st.integers(-200, 200))), len(content) - 1)
        content[at] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    _attempt(bytes(content))


@settings(max_examples=100)
@given(data=st.data())
def test_rewired_graphs_give_an_answer_or_an_integrity_error(
    data: st.DataObject, files: dict[str, Path]
) -> None:
    """Well-formed files whose wires go anywhere, cycles included."""
    model = onnx.load(files["nano"])
    values = [name for node in model.graph.node for name in (*node.input, *node.output)]
    for _ in range(data.draw(st.integers(1, 8))):
        node = model.graph.node[data.draw(st.integers(0, len(model.graph.node) - 1))]
        what = data.draw(st.sampled_from(["input", "output", "drop", "type"]))
        if what == "input" and node.input:
            node.input[data.draw(st.integers(0, len(node.input) - 1))] = data.draw(st.sampled_from(values))
        elif what == "output" and node.output:
            node.output[0] = data.draw(st.sampled_from(values))
        elif what == "drop":
            del node.input[:], node.output[:]
        else:
            node.op_type = data.draw(
                st.sampled_from(["Conv", "Identity", "Add", "Mul", "Gather", "Concat", "Relu"])
            )
    _attempt(model.SerializeToString())
