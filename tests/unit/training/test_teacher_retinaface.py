import re

import numpy as np
import pytest

pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from featherface_training.data.augment import BGR_MEAN  # noqa: E402
from featherface_training.teachers.retinaface import main  # noqa: E402


@pytest.fixture
def converted(tmp_path):
    """A network as tf2onnx writes one: its outputs are the red, green and blue of each pixel, repeated."""
    from onnx import TensorProto, helper, numpy_helper

    def make(shape=("unk__1", 3, "unk__2", "unk__3"), widths=(4, 2, 10)):
        nodes, weights = [], [numpy_helper.from_array(np.array([0, 3, -1]), "flat")]
        nodes.append(helper.make_node("Reshape", ["x:0", "flat"], ["planes"]))
        nodes.append(helper.make_node("Transpose", ["planes"], ["pixels"], perm=[0, 2, 1]))
        for width in widths:
            weights.append(numpy_helper.from_array(np.arange(width) % 3, f"channels_{width}"))
            nodes.append(
                helper.make_node("Gather", ["pixels", f"channels_{width}"], [f"out_{width}"], axis=2)
            )
        graph = helper.make_graph(
            nodes,
            "rgb",
            [helper.make_tensor_value_info("x:0", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(f"out_{w}", TensorProto.FLOAT, ["a", "b", w]) for w in widths],
            weights,
        )
        path = tmp_path / "raw.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
        return path

    return make


def test_pixels_arrive_as_rgb_from_0_to_255(converted, tmp_path, capsys):
    import onnxruntime

    output = tmp_path / "teacher.onnx"
    assert main([str(converted()), str(output)]) == 0
    assert "teacher.onnx" in capsys.readouterr().out
    rgb = np.random.default_rng(3).integers(0, 256, (2, 5, 7, 3)).astype(np.float32)
    students = (rgb[..., ::-1] - np.array(BGR_MEAN, np.float32)).transpose(0, 3, 1, 2)
    session = onnxruntime.InferenceSession(output.read_bytes(), providers=["CPUExecutionProvider"])
    boxes, classes, landmarks = session.run(None, {session.get_inputs()[0].name: students})
    pixels = rgb.reshape(2, -1, 3)
    np.testing.assert_allclose(boxes, pixels[..., [0, 1, 2, 0]], atol=1e-4)
    np.testing.assert_allclose(classes, pixels[..., :2], atol=1e-4)
    np.testing.assert_allclose(landmarks, pixels[..., np.arange(10) % 3], atol=1e-4)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        ({"shape": ("n", "h", "w", 3)}, "--inputs-as-nchw"),
        ({"widths": (2, 4, 10)}, r"last axes are \[4, 2, 10\]"),
        ({"widths": (4, 2)}, r"last axes are \[4, 2, 10\]"),
    ],
)
def test_what_is_no_such_network_says_how_to_convert_it(converted, tmp_path, capsys, made, expected):
    with pytest.raises(SystemExit):
        main([str(converted(**made)), str(tmp_path / "teacher.onnx")])
    assert re.search(expected, capsys.readouterr().err)
    assert not (tmp_path / "teacher.onnx").exists()


def test_a_missing_file_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([str(tmp_path / "gone.onnx"), str(tmp_path / "teacher.onnx")])
    assert "gone.onnx" in capsys.readouterr().err


def test_a_graph_that_was_not_converted_is_no_onnx(tmp_path, capsys):
    (tmp_path / "frozen_graph.pb").write_bytes(b"\xffno protobuf")
    with pytest.raises(SystemExit):
        main([str(tmp_path / "frozen_graph.pb"), str(tmp_path / "teacher.onnx")])
    assert "frozen_graph.pb, this is no such file: convert" in capsys.readouterr().err
