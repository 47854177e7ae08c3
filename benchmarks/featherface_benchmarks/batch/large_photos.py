"""What scaled decoding gains on large photos, and that it costs no accuracy.

Photos are enlarged to twelve megapixels and annotated twice by the whole job: as it is, and with a detector
that decodes every pixel. The accuracy is that of enlarged photos of WIDER FACE val, both ways.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from featherface import Detections, Detector, Settings
from featherface.detector import PreparedImage
from featherface.images import decode
from featherface.resize import plan, to_model_input
from featherface_batch.finders import FaceFinder

__all__ = ["FullDecodeFinder", "accuracy", "enlarge", "enlarged"]

_PIXELS: Final = 12_000_000
_QUALITY: Final = 90


class FullDecodeFinder:
    """Finds the same faces, but decodes every pixel before it scales the photo down.

    Parameters
    ----------
    settings : Settings
    """

    def __init__(self, settings: Settings) -> None:
        self._detector = Detector.load(settings=settings)

    def detect(self, data: bytes) -> Detections:
        """Find the faces of one photo."""
        settings = self._detector.settings
        photo = decode(data, limits=settings.image_limits)
        transform = plan(photo.width, photo.height, settings.input_size, settings.fit)
        return self._detector.infer([PreparedImage(to_model_input(photo, transform), transform)])[0]


def enlarge(data: bytes) -> bytes:
    """Return a photo as a JPEG of twelve megapixels, EXIF dropped."""
    with Image.open(io.BytesIO(data)) as image:
        scale = (_PIXELS / (image.width * image.height)) ** 0.5
        size = (round(image.width * scale), round(image.height * scale))
        buffer = io.BytesIO()
        image.convert("RGB").resize(size, Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


def enlarged(photos: Sequence[Path], folder: Path) -> list[Path]:
    """Write enlarged copies of photos into a folder."""
    folder.mkdir()
    copies = []
    for photo in photos:
        copy = folder / f"{photo.stem}.jpg"
        copy.write_bytes(enlarge(photo.read_bytes()))
        copies.append(copy)
    return copies


def accuracy(wider: Path, ground_truth: Path, model: str) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield the average precision on enlarged photos of WIDER FACE val, for each way to decode.

    Parameters
    ----------
    wider, ground_truth : Path
        As ``featherface evaluate`` takes them.
    model : str
    """
    from featherface_training.evaluation import DIFFICULTIES, evaluate, read_ground_truth
    from featherface_training.evaluation.detectors import CUSTOMARY
    from featherface_training.evaluation.run import find_photos

    settings = replace(CUSTOMARY, model=model, threads=1)
    truth = read_ground_truth(ground_truth)
    finders: dict[str, FaceFinder] = {
        "scaled": Detector.load(settings=settings),
        "full": FullDecodeFinder(settings),
    }
    found: dict[str, dict[str, np.ndarray]] = {name: {} for name in finders}
    for name, path in find_photos(wider, truth).items():
        with Image.open(path) as image:
            width = image.width
        large = enlarge(path.read_bytes())
        for way, finder in finders.items():
            found[way][name] = _boxes(finder.detect(large), width)
    for way, predictions in found.items():
        curves = evaluate(predictions, truth)
        yield way, {level: curves[level].average_precision for level in DIFFICULTIES}


def _boxes(found: Detections, width: int) -> np.ndarray:
    """Return left, top, width, height and confidence in pixels of the photo before it was enlarged."""
    rows = [(f.box.left, f.box.top, f.box.width, f.box.height, f.confidence) for f in found.faces]
    boxes = np.array(rows, np.float64).reshape(-1, 5)
    boxes[:, :4] *= width / found.width
    return boxes
