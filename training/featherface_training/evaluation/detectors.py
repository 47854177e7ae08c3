"""What turns a photo's bytes into scored boxes: our deployed path, and a peer for checking the protocol."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from featherface import Detections, Detector, Settings
from featherface.detector import ModelInfo, PreparedImage
from featherface.images import decode
from featherface.nms import non_maximum_suppression
from featherface.resize import plan, to_model_input
from featherface.runtime import Session

from .errors import EvaluationError

__all__ = ["ScoredBoxes", "Size", "featherface_detector", "open_detector", "scrfd_detector"]

ScoredBoxes = NDArray[np.float64]
"""Shape (K, 5): left, top, width, height in pixels of the upright photo, and the score."""

Size = int | Literal["original"]
"""The long side in pixels, or the photo's own size."""


def _boxes(found: Detections) -> ScoredBoxes:
    rows = [(f.box.left, f.box.top, f.box.width, f.box.height, f.confidence) for f in found.faces]
    return np.array(rows, np.float64).reshape(-1, 5)


def _detector(model: str, settings: Settings) -> Detector:
    if model in ("nano", "v1"):
        return Detector.load(model, settings=settings)
    path = Path(model)
    if path.suffix in (".pt", ".pth"):
        import tempfile

        from ..checkpoint import load_model
        from ..export import export_onnx

        with tempfile.TemporaryDirectory() as folder:
            exported = Path(folder) / "model.onnx"
            export_onnx(load_model(path)[0], exported)
            data = exported.read_bytes()
    else:
        data = path.read_bytes()
    session = Session(data, device=settings.device, threads=settings.threads)
    # a candidate, not a published package: it has no version, count or hash to vouch for
    info = ModelInfo(path.name, "unpublished", 0, "", session.provider, settings.precision)
    return Detector(session, info, settings)


def featherface_detector(
    model: str, size: Size, *, square: bool = False, settings: Settings | None = None
) -> Callable[[bytes], ScoredBoxes]:
    """Open one of our models: a package's name, an `.onnx`, or a checkpoint.

    Parameters
    ----------
    model : str
        "v1", "nano", or a path.
    size : int or "original"
        The long side in pixels; "original" shows the model the photo at its own size.
    square : bool
        Pad to a square (at an integer `size`).
    settings : Settings, optional
        Thresholds and threads; WIDER's customary ones (0.02, NMS 0.4) if omitted.
    """
    settings = settings or Settings(confidence_threshold=0.02, nms_threshold=0.4, max_detections=5000)
    if square:
        settings = replace(settings, fit="square")
    detector = _detector(model, settings)

    def detect(data: bytes) -> ScoredBoxes:
        # Not Detector.prepare: its sizes stop at 1024, and an evaluation must not depend on scaled decoding.
        photo = decode(data, limits=settings.image_limits)
        side = max(photo.width, photo.height) if size == "original" else size
        transform = plan(photo.width, photo.height, side, settings.fit)
        prepared = PreparedImage(to_model_input(photo, transform), transform)
        return _boxes(detector.infer([prepared])[0])

    return detect


def scrfd_detector(path: Path, size: Size, *, threads: int = 0) -> Callable[[bytes], ScoredBoxes]:
    """Open an SCRFD model (Guo et al., 2021) with landmarks: the independent check of the protocol.

    Input RGB, (x - 127.5) / 128; per stride 8, 16, 32 scores, distances to the four sides and landmarks, for
    two anchors at each cell's top left corner.
    """
    import cv2
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    name, shape = session.get_inputs()[0].name, session.get_inputs()[0].shape
    if len(session.get_outputs()) != 9:
        raise EvaluationError(f"expected SCRFD's nine outputs in {path}, got {len(session.get_outputs())}")

    def detect(data: bytes) -> ScoredBoxes:
        photo = decode(data, limits=Settings().image_limits)
        side = max(photo.width, photo.height) if size == "original" else size
        transform = plan(photo.width, photo.height, side, "long_side")
        # OpenCV's bilinear, which does not smooth, as the published figures of peers were taken with
        image = cv2.resize(np.asarray(photo.image), (transform.scaled_width, transform.scaled_height))
        # some files fix the input's size
        height, width = (
            f if isinstance(f, int) else b for f, b in zip(shape[2:], transform.bucket, strict=True)
        )
        canvas = np.zeros((height, width, 3), np.float32)
        canvas[: image.shape[0], : image.shape[1]] = image
        x = ((canvas - 127.5) / 128).transpose(2, 0, 1)[None]
        outputs = [o.reshape(-1, o.shape[-1]) for o in session.run(None, {name: x.astype(np.float32)})]
        scores, boxes = [], []
        for level, stride in enumerate((8, 16, 32)):
            rows, columns = np.mgrid[: height // stride, : width // stride]
            centres = np.repeat(np.stack([columns, rows], -1).reshape(-1, 2) * stride, 2, axis=0)
            distances = outputs[3 + level] * stride
            boxes.append(np.concatenate([centres - distances[:, :2], centres + distances[:, 2:]], 1))
            scores.append(outputs[level][:, 0])
        all_scores, corners = np.concatenate(scores), np.concatenate(boxes)
        kept = all_scores >= 0.02
        all_scores, corners = all_scores[kept].astype(np.float64), corners[kept].astype(np.float64)
        best = non_maximum_suppression(corners, all_scores, 0.4)
        corners = transform.to_photo(corners[best])
        return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2], all_scores[best, None]], 1)

    return detect


def open_detector(
    model: str, size: Size, *, square: bool = False, threads: int = 0
) -> Callable[[bytes], ScoredBoxes]:
    """Open `model` by name or path; a file whose name begins with `scrfd` is taken for one."""
    path = Path(model)
    if model not in ("nano", "v1") and not path.is_file():
        raise EvaluationError(f"expected 'v1', 'nano' or the path of a model, got {model!r}")
    if path.name.startswith("scrfd"):
        return scrfd_detector(path, size, threads=threads)
    settings = Settings(confidence_threshold=0.02, nms_threshold=0.4, max_detections=5000, threads=threads)
    return featherface_detector(model, size, square=square, settings=settings)
