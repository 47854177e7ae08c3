"""Photos made here, the published models, and a network whose answer is known by construction."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import onnx.helper as oh
import pytest
from PIL import Image

from featherface import Detector, ModelInfo, Settings
from featherface.packages import Manifest, load_manifest
from featherface.runtime import Session

EncodePhoto = Callable[..., bytes]


def _scene(width: int, height: int, seed: int) -> Image.Image:
    """Return smooth random colours: an image whose decodings can be compared."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture(scope="session")
def scene() -> Callable[[int, int, int], Image.Image]:
    return _scene


@pytest.fixture(scope="session")
def encode() -> EncodePhoto:
    """Encode a picture, optionally with an EXIF orientation."""

    def encode_(
        image: Image.Image, kind: str = "PNG", orientation: int | None = None, **options: object
    ) -> bytes:
        buffer = io.BytesIO()
        if orientation is not None:
            exif = Image.Exif()
            exif[0x0112] = orientation
            options["exif"] = exif.tobytes()
        image.save(buffer, kind, **options)
        return buffer.getvalue()

    return encode_


@pytest.fixture(scope="session")
def manifest() -> Manifest:
    return load_manifest()


@pytest.fixture(scope="session", params=["nano", "v1"])
def detector(request: pytest.FixtureRequest) -> Detector:
    """A published model on the CPU."""
    return Detector.load(settings=Settings(model=request.param, device="cpu", threads=1, input_size=320))


@pytest.fixture(scope="session")
def spot_model() -> bytes:
    """A network that sees bright spots: the smaller prior of stride 8 fires where its cell is white."""
    nodes, weights = [], []
    names = {"classifications": 2, "bbox_regressions": 4, "landmarks": 10}
    parts: dict[str, list[str]] = {name: [] for name in names}
    for stride in (8, 16, 32):
        pooled = f"pooled{stride}"
        window = {"kernel_shape": [stride, stride], "strides": [stride, stride]}
        nodes.append(oh.make_node("AveragePool", ["input"], [pooled], **window))
        for name, values in names.items():
            weight = np.zeros((2 * values, 3, 1, 1), dtype=np.float32)
            bias = np.zeros(2 * values, dtype=np.float32)
            if name == "classifications":
                bias[1::2] = -30.0
                if stride == 8:
                    # White minus the mean sums to 421: the logit passes 0 at half of that.
                    weight[1] = 0.1
                    bias[1] = -21.05
            key = f"{name}{stride}"
            weights += [
                onnx.numpy_helper.from_array(weight, f"{key}.weight"),
                onnx.numpy_helper.from_array(bias, f"{key}.bias"),
                onnx.numpy_helper.from_array(np.array([0, -1, values]), f"{key}.shape"),
            ]
            nodes += [
                oh.make_node("Conv", [pooled, f"{key}.weight", f"{key}.bias"], [f"{key}.conv"]),
                oh.make_node("Transpose", [f"{key}.conv"], [f"{key}.last"], perm=[0, 2, 3, 1]),
                oh.make_node("Reshape", [f"{key}.last", f"{key}.shape"], [key]),
            ]
            parts[name].append(key)
    nodes += [oh.make_node("Concat", keys, [name], axis=1) for name, keys in parts.items()]
    real = onnx.TensorProto.FLOAT
    graph = oh.make_graph(
        nodes,
        "spots",
        [oh.make_tensor_value_info("input", real, ["n", 3, "h", "w"])],
        [oh.make_tensor_value_info(name, real, ["n", "p", values]) for name, values in names.items()],
        weights,
    )
    model = oh.make_model(graph, opset_imports=[oh.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


@pytest.fixture(scope="session")
def spot_detector(spot_model: bytes) -> Callable[..., Detector]:
    """A detector of bright spots with the given settings."""
    session = Session(spot_model, device="cpu", threads=1)
    info = ModelInfo("spots", "1", 0, "0" * 64, session.provider, "fp32")
    base = Settings(device="cpu", threads=1)
    return lambda **changes: Detector(session, info, replace(base, **changes))
