import cv2
import numpy as np
import pytest

LANDMARKS = "{0} {1} 0 {2} {1} 0 {3} {4} 0 {0} {5} 0 {2} {5} 0"


@pytest.fixture(scope="session")
def wider(tmp_path_factory):
    """Twelve made photos in a WIDER tree, with a label file: bright squares are the faces."""
    root = tmp_path_factory.mktemp("wider")
    folder = root / "WIDER_train" / "images" / "0--Squares"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(7)
    lines = []
    for i in range(12):
        pixels = rng.integers(0, 90, (240, 320, 3), dtype=np.uint8)
        lines.append(f"# 0--Squares/{i}.jpg")
        for _ in range(i % 3):
            side = int(rng.integers(20, 90))
            x, y = int(rng.integers(0, 320 - side)), int(rng.integers(0, 240 - side))
            pixels[y : y + side, x : x + side] = 220
            points = LANDMARKS.format(
                x + side * 0.3, y + side * 0.4, x + side * 0.7, x + side / 2, y + side / 2, y + side * 0.8
            )
            lines.append(f"{x} {y} {side} {side} {points} 0.9")
        cv2.imwrite(str(folder / f"{i}.jpg"), pixels)
    lines.append("# 0--Squares/not_there.jpg")
    lines.append("1 2 30 40 " + " ".join(["-1"] * 15) + " -1")
    labels = root / "label.txt"
    labels.write_text("\n".join(lines) + "\n")
    return root, labels


@pytest.fixture(scope="session")
def packed(wider, tmp_path_factory):
    pytest.importorskip("torch")
    from featherface_training.data.packed import PackedDataset, pack
    from featherface_training.data.wider import read_wider

    target = tmp_path_factory.mktemp("pack")
    pack(read_wider(*wider), target)
    return PackedDataset(target)


@pytest.fixture(scope="session")
def mixture(packed):
    from featherface_training.data.mixture import Mixture

    return Mixture(packed)


@pytest.fixture(scope="session")
def trained_looking():
    """Make a model whose BN statistics are not the identity, so that a lost or folded BN would show."""
    torch = pytest.importorskip("torch")
    from featherface_training.models import build_model

    def make(name):
        torch.manual_seed(3)
        model = build_model(name).train()
        with torch.no_grad():
            model(torch.randn(4, 3, 96, 96) * 60)
        return model.eval()

    return make


class PeerNetworks:
    """Detectors by others, whose outputs are constants written by hand: one face of 0.9 in 64x64 pixels."""

    box = np.array([16.0, 8.0, 48.0, 56.0])
    points = np.array([[24, 20], [40, 20], [32, 30], [26, 44], [38, 44]], float)

    def __init__(self, folder):
        self.folder = folder

    def write(self, name, outputs, shape=("n", 3, "h", "w")):
        """Write a network that ignores its input."""
        import onnx
        from onnx import TensorProto, helper, numpy_helper

        nodes = [
            helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value.astype(np.float32)))
            for name, value in outputs.items()
        ]
        graph = helper.make_graph(
            nodes,
            "constant",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, v.shape) for n, v in outputs.items()],
        )
        opset = helper.make_opsetid("", 17)
        path = self.folder / f"{name}.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), path)
        return path

    def make_with_levels(self, kind):
        """Write one of the methods below whose heads, three a level, read the input's means over cells."""
        import onnx
        from onnx import helper, numpy_helper

        path = self.make(kind)
        model = onnx.load(path)
        weights = np.ones((2, 3, 1, 1), np.float32)
        model.graph.initializer.append(numpy_helper.from_array(weights, "weights"))
        for stride in (4,) if kind == "centerface" else (8, 16, 32):
            sides = {"kernel_shape": [stride, stride], "strides": [stride, stride]}
            level = f"level_{stride}"
            model.graph.node.append(helper.make_node("AveragePool", ["input"], [level], **sides))
            for head in ("class", "box", "landmark"):
                model.graph.node.append(
                    helper.make_node("Conv", [level, "weights"], [f"{head}_of_{stride}"], kernel_shape=[1, 1])
                )
        onnx.save(model, path)
        return path

    def make(self, kind):
        """Write one of the methods below."""
        # CenterFace's file fixes the size of its input
        shape = ("n", 3, 32, 32) if kind == "centerface" else ("n", 3, "h", "w")
        return self.write(kind, getattr(self, kind)(), shape)

    def scrfd(self):
        """At stride 8: distances, in strides, from the cell's corner (32, 32), second anchor."""
        outputs = {}
        cell = 2 * (4 * 8 + 4) + 1
        for kind, width in (("score", 1), ("box", 4), ("points", 10)):
            for stride, cells in ((8, 64), (16, 16), (32, 4)):
                outputs[f"{kind}_{stride}"] = np.zeros((1, cells * 2, width))
        outputs["score_8"][0, cell] = 0.9
        outputs["box_8"][0, cell] = [(32 - 16) / 8, (32 - 8) / 8, (48 - 32) / 8, (56 - 32) / 8]
        outputs["points_8"][0, cell] = ((self.points - 32) / 8).reshape(-1)
        return outputs

    def retinaface(self):
        """At stride 32, prior side 256, cell centre (48, 16): variances 0.1 and 0.2."""
        rows = 64 * 2 + 16 * 2 + 4 * 2
        row = 64 * 2 + 16 * 2 + 2
        boxes, classes, points = np.zeros((1, rows, 4)), np.zeros((1, rows, 2)), np.zeros((1, rows, 10))
        classes[0, row] = [0.1, 0.9]
        boxes[0, row] = [
            (32 - 48) / 25.6, (32 - 16) / 25.6, np.log(32 / 256) / 0.2, np.log(48 / 256) / 0.2,
        ]  # fmt: skip
        points[0, row] = ((self.points - [48, 16]) / 25.6).reshape(-1)
        return {"loc": boxes, "conf": classes, "landmarks": points}

    def yunet(self):
        """At stride 16, cell (1, 2): the score is the root of class times object."""
        outputs = {}
        for kind, width in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            for stride, cells in ((8, 64), (16, 16), (32, 4)):
                outputs[f"{kind}_{stride}"] = np.zeros((1, cells, width))
        cell = 2 * 4 + 1
        outputs["cls_16"][0, cell], outputs["obj_16"][0, cell] = 0.9, 0.9
        outputs["bbox_16"][0, cell] = [(32 - 16) / 16, (32 - 32) / 16, np.log(32 / 16), np.log(48 / 16)]
        outputs["kps_16"][0, cell] = ((self.points - [16, 32]) / 16).reshape(-1)
        return outputs

    def centerface(self):
        """At stride 4, cell (7, 7): pairs are (y, x), landmarks in units of the box."""
        heat, size, offset, points = (np.zeros((1, n, 16, 16)) for n in (1, 2, 2, 10))
        heat[0, 0, 7, 7] = 0.9
        size[0, :, 7, 7] = [np.log(48 / 4), np.log(32 / 4)]
        offset[0, :, 7, 7] = [32 / 4 - 7.5, 32 / 4 - 7.5]
        points[0, :, 7, 7] = ((self.points - self.box[:2]) / [32, 48])[:, ::-1].reshape(-1)
        return {"537": heat, "538": size, "539": offset, "540": points}


@pytest.fixture
def peers(tmp_path):
    return PeerNetworks(tmp_path)
