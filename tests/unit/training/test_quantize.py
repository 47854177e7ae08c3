import numpy as np
import pytest

pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from featherface_training import quantize as quantisation  # noqa: E402
from featherface_training.export import export_onnx  # noqa: E402


@pytest.fixture(scope="module")
def nano(trained_looking, tmp_path_factory):
    path = tmp_path_factory.mktemp("fp32") / "nano.onnx"
    export_onnx(trained_looking("nano"), path)
    return path


def grouped(path):
    """Groups of the convolutions whose weights are integers."""
    graph = onnx.load(str(path)).graph
    scaled = {n.output[0] for n in graph.node if n.op_type == "DequantizeLinear"}
    convolutions = [n for n in graph.node if n.op_type == "Conv" and n.input[1] in scaled]
    assert convolutions
    return [a.i for n in convolutions for a in n.attribute if a.name == "group" and a.i > 1]


def test_integer_convolutions_without_groups_give_the_same_bits(nano, packed, tmp_path, monkeypatch):
    quantisation.quantize(nano, tmp_path / "dense.onnx", packed, photos=3, size=96)
    monkeypatch.setattr(quantisation, "_spread_groups", lambda model: None)
    quantisation.quantize(nano, tmp_path / "groups.onnx", packed, photos=3, size=96)
    assert grouped(tmp_path / "groups.onnx") == [4] * 15
    assert grouped(tmp_path / "dense.onnx") == []
    x = np.random.default_rng(1).uniform(-123, 151, (2, 3, 96, 160)).astype(np.float32)
    first, second = (
        onnxruntime.InferenceSession(tmp_path / name, providers=["CPUExecutionProvider"]).run(
            None, {"input": x}
        )
        for name in ("dense.onnx", "groups.onnx")
    )
    for ours, theirs in zip(first, second, strict=True):
        np.testing.assert_array_equal(ours, theirs)
