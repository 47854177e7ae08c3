"""Running a detector over the photos of WIDER FACE val that are present."""

from collections.abc import Callable
from pathlib import Path

from PIL import Image

from .detectors import ScoredBoxes, Size
from .errors import EvaluationError
from .ground_truth import GroundTruth

__all__ = ["find_photos", "input_scales", "predict"]


def find_photos(wider: Path, truth: GroundTruth) -> dict[str, Path]:
    """Return those photos of the ground truth that lie under a WIDER root, by `event/name`.

    Raises
    ------
    EvaluationError
        If there is none.
    """
    for root in (wider / "WIDER_val" / "images", wider / "val" / "images", wider / "images", wider):
        found = {name: root / f"{name}.jpg" for name in truth if (root / f"{name}.jpg").is_file()}
        if found:
            return found
    raise EvaluationError(f"expected photos of WIDER FACE val under {wider}/WIDER_val/images, found none")


def input_scales(photos: dict[str, Path], size: Size) -> dict[str, float]:
    """Return the pixels of the network's input for a pixel of each photo, at a long side or "original"."""
    if size == "original":
        return dict.fromkeys(photos, 1.0)
    scales = {}
    for name, path in photos.items():
        with Image.open(path) as image:
            scales[name] = size / max(image.size)
    return scales


def predict(detect: Callable[[bytes], ScoredBoxes], photos: dict[str, Path]) -> dict[str, ScoredBoxes]:
    """Run `detect` over the photos, with a progress bar on a terminal."""
    from tqdm import tqdm

    return {
        name: detect(path.read_bytes())
        for name, path in tqdm(photos.items(), unit="photo", disable=None, leave=False)
    }
