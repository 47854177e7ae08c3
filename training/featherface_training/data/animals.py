"""Known animals in photos: what detectors take for faces there is background."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..evaluation.boxes import centres, inside
from .wider import LabelError

__all__ = ["Animals", "read_animals"]

_HEAD = ("left_eye", "right_eye", "nose")


@dataclass(frozen=True, slots=True)
class Animals:
    """The animals of a photo.

    Attributes
    ----------
    boxes : ndarray, shape (A, 4), float64
        left, top, right, bottom in pixels of the photo.
    heads : ndarray, shape (A, 3, 2), float64
        Both eyes and the nose; NaN where not seen.
    """

    boxes: NDArray[np.float64]
    heads: NDArray[np.float64]

    def hold(self, found: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell which boxes (K, 4) have their centre in an animal's box: (K,)."""
        return inside(centres(found), self.boxes).any(1)

    def show_in(self, found: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell which boxes (K, 4) hold an eye or nose of an animal whose box holds their centre: (K,)."""
        corners = found[:, None, None]
        seen = ((corners[..., :2] <= self.heads) & (self.heads <= corners[..., 2:])).all(3).any(2)
        return (inside(centres(found), self.boxes) & seen).any(1)


def read_animals(path: Path) -> dict[str, Animals]:
    """Read the labels of AnimalPose (Cao et al., ICCV 2019) by the photos' file names.

    Parameters
    ----------
    path : Path
        Its `keypoints.json`: COCO's layout but for boxes of two corners and images as an object.

    Raises
    ------
    LabelError
        If the file has another layout.
    """
    try:
        labels = json.loads(path.read_text())
        names = labels["categories"][0]["keypoints"]
        rows = [names.index(name) for name in _HEAD]
        found: dict[str, list[tuple[list[float], NDArray[np.float64]]]] = {}
        for animal in labels["annotations"]:
            points = np.array(animal["keypoints"], float).reshape(-1, 3)[rows]
            head = np.where(points[:, 2:] > 0, points[:, :2], np.nan)
            photo = labels["images"][str(animal["image_id"])]
            found.setdefault(photo, []).append((animal["bbox"], head))
        return {
            photo: Animals(
                np.array([box for box, _ in animals], float).reshape(-1, 4),
                np.array([head for _, head in animals], float).reshape(-1, 3, 2),
            )
            for photo, animals in found.items()
        }
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise LabelError(
            f"{path}: expected AnimalPose's keypoints.json, got {type(error).__name__}: {error}"
        ) from error
