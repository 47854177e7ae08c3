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
from featherface.postprocess import MOST_CANDIDATES
from featherface.resize import plan, to_model_input
from featherface.runtime import OUTPUTS, Session

from .errors import EvaluationError
from .peers import Peer

__all__ = [
    "CUSTOMARY",
    "ScoredBoxes",
    "Size",
    "featherface_detector",
    "open_detector",
    "open_faces",
    "peer_detector",
    "prepare",
]

ScoredBoxes = NDArray[np.float64]
"""Shape (K, 5): left, top, width, height in pixels of the upright photo, and the score."""

Size = int | Literal["original"]
"""The long side in pixels, or the photo's own size."""

CUSTOMARY = Settings(confidence_threshold=0.02, nms_threshold=0.4, max_detections=MOST_CANDIDATES)
"""The thresholds that detectors are evaluated with on WIDER FACE."""


def _boxes(found: Detections) -> ScoredBoxes:
    rows = [(f.box.left, f.box.top, f.box.width, f.box.height, f.confidence) for f in found.faces]
    return np.array(rows, np.float64).reshape(-1, 5)


def _session(path: Path, settings: Settings) -> Session:
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
    return Session(data, device=settings.device, threads=settings.threads)


def _detector(model: str, settings: Settings) -> Detector:
    if model in ("nano", "v1"):
        return Detector.load(model, settings=settings)
    path = Path(model)
    session = _session(path, settings)
    # a candidate, not a published package: it has no version, count or hash to vouch for
    info = ModelInfo(path.name, "unpublished", 0, "", session.provider, settings.precision)
    return Detector(session, info, settings)


def prepare(data: bytes, size: Size, settings: Settings) -> PreparedImage:
    """Decode a photo at its full resolution, and lay it out for the network."""
    # Not Detector.prepare: its sizes stop at 1024, and an evaluation must not depend on scaled decoding.
    photo = decode(data, limits=settings.image_limits)
    side = max(photo.width, photo.height) if size == "original" else size
    transform = plan(photo.width, photo.height, side, settings.fit)
    return PreparedImage(to_model_input(photo, transform), transform)


def open_faces(
    model: str, size: Size, *, square: bool = False, settings: Settings | None = None
) -> Callable[[bytes], Detections]:
    """Open one of our models, to get all of its faces' parts: a package's name, an `.onnx`, or a checkpoint.

    Parameters
    ----------
    model : str
        "v1", "nano", or a path.
    size : int or "original"
        The long side in pixels; "original" shows the model the photo at its own size.
    square : bool
        Pad to a square (at an integer `size`).
    settings : Settings, optional
        Thresholds and threads; `CUSTOMARY` if omitted.
    """
    settings = settings or CUSTOMARY
    if square:
        settings = replace(settings, fit="square")
    detector = _detector(model, settings)

    def detect(data: bytes) -> Detections:
        return detector.infer([prepare(data, size, settings)])[0]

    return detect


def featherface_detector(
    model: str, size: Size, *, square: bool = False, settings: Settings | None = None
) -> Callable[[bytes], ScoredBoxes]:
    """Open one of our models, as `open_faces` does, for its boxes."""
    detect = open_faces(model, size, square=square, settings=settings)
    return lambda data: _boxes(detect(data))


def peer_detector(path: Path, size: Size, *, threads: int = 0) -> Callable[[bytes], ScoredBoxes]:
    """Open another detector, see `Peer`."""
    peer = Peer(
        path,
        threshold=CUSTOMARY.confidence_threshold,
        nms_threshold=CUSTOMARY.nms_threshold,
        threads=threads,
    )

    def detect(data: bytes) -> ScoredBoxes:
        photo = decode(data, limits=Settings().image_limits)
        side = max(photo.width, photo.height) if size == "original" else size
        found = peer(np.asarray(photo.image), side)
        return np.concatenate(
            [found.boxes[:, :2], found.boxes[:, 2:] - found.boxes[:, :2], found.scores[:, None]], 1
        )

    return detect


def _is_ours(path: Path) -> bool:
    import onnx

    outputs = [output.name for output in onnx.load(str(path), load_external_data=False).graph.output]
    return outputs == list(OUTPUTS)


def open_detector(
    model: str, size: Size, *, square: bool = False, mirror: bool = False, threads: int = 0
) -> Callable[[bytes], ScoredBoxes]:
    """Open `model` by name or path; an `.onnx` that is not FeatherFace's is taken for a peer's.

    A peer is shown photos as they are: `square` and `mirror` are settings of our detectors.
    """
    path = Path(model)
    if model not in ("nano", "v1") and not path.is_file():
        raise EvaluationError(f"expected 'v1', 'nano' or the path of a model, got {model!r}")
    if path.suffix == ".onnx" and not _is_ours(path):
        return peer_detector(path, size, threads=threads)
    settings = replace(CUSTOMARY, mirror=mirror, threads=threads)
    return featherface_detector(model, size, square=square, settings=settings)
