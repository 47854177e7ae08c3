"""Smaller copies of a crop's own faces, pasted where none is: more small faces from the same photos.

After Kisantal et al., "Augmentation for small object detection" (2019) and Ghiasi et al., "Simple Copy-Paste
is a Strong Data Augmentation Method for Instance Segmentation" (CVPR 2021). Faces have no masks here: a copy
is an ellipse about its box that fades out into what lies behind it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ..evaluation.boxes import overlaps
from .wider import LabelledPhoto

__all__ = ["Paste", "choose_pastes", "paste"]

_MOST = 8
_TRIES = 10
# heights of copies, pixels of the crop: where detectors of this size miss most
_HEIGHTS = (8.0, 32.0)
# sides of what is copied, in the sides of the face's box: hair and chin come along
_CONTEXT = 1.4
# part of the ellipse's radius within which the copy hides what is behind it
_SOLID = 0.7


class _Area(NamedTuple):
    left: int
    top: int
    right: int
    bottom: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.right - self.left, self.bottom - self.top


@dataclass(frozen=True, slots=True)
class Paste:
    """One copy: which pixels of a crop go where, in smaller."""

    source: _Area
    target: _Area

    def mask(self) -> NDArray[np.float32]:
        """Return how much of the copy is seen, shape of the target (H, W), 0 to 1."""
        width, height = self.target.size
        across = (np.arange(width, dtype=np.float32) + 0.5) / width * 2 - 1
        down = (np.arange(height, dtype=np.float32) + 0.5) / height * 2 - 1
        radius = np.hypot(across, down[:, None])
        return np.clip((1 - radius) / (1 - _SOLID), 0, 1)


def choose_pastes(
    rng: np.random.Generator, labels: LabelledPhoto, size: int, probability: float
) -> tuple[list[Paste], LabelledPhoto]:
    """Choose copies for a crop of `size` pixels, none of them over a face or a region without labels.

    Parameters
    ----------
    rng : numpy.random.Generator
    labels : LabelledPhoto
        Of the crop, in its pixels.
    size : int
    probability : float
        That the crop gets any; up to eight then, fewer where there is no room.

    Returns
    -------
    pastes : list of Paste
    labels : LabelledPhoto
        With the copies' boxes, landmarks and heights. A copy is as much smaller in its photo as it is here.
    """
    # the first test keeps the random numbers of a run without copies what they were
    if not probability or not len(labels.boxes) or rng.random() >= probability:
        return [], labels
    pastes: list[Paste] = []
    taken = np.concatenate([labels.boxes, labels.ignored])
    boxes, landmarks, heights = list(labels.boxes), list(labels.landmarks), list(labels.heights)
    for _ in range(int(rng.integers(1, _MOST + 1))):
        face = int(rng.integers(len(labels.boxes)))
        box = labels.boxes[face]
        height = math.exp(rng.uniform(*np.log(_HEIGHTS)))
        corners = rng.random((_TRIES, 2))
        source = _around(box, size)
        if source is None or box[3] - box[1] <= height:
            continue
        factor = height / (box[3] - box[1])
        sides = np.array([max(2, round(side * factor)) for side in source.size])
        places = (corners * (size - sides + 1)).astype(int)
        areas = np.concatenate([places, places + sides], 1).astype(np.float32)
        free = np.flatnonzero(~overlaps(areas, taken).any(1))
        if not len(free):
            continue
        target = _Area(*areas[free[0]].astype(int).tolist())
        pastes.append(Paste(source, target))
        scale = np.array(target.size, np.float32) / np.array(source.size, np.float32)
        origin, place = np.array(source[:2], np.float32), np.array(target[:2], np.float32)
        boxes.append(((box.reshape(2, 2) - origin) * scale + place).reshape(4))
        landmarks.append((labels.landmarks[face] - origin) * scale + place)
        heights.append(labels.heights[face] * scale[1])
        taken = np.concatenate([taken, areas[free[:1]]])
    if not pastes:
        return [], labels
    pasted = replace(
        labels,
        boxes=np.array(boxes, np.float32),
        landmarks=np.array(landmarks, np.float32),
        heights=np.array(heights, np.float32),
    )
    return pastes, pasted


def _around(box: NDArray[np.float32], size: int) -> _Area | None:
    """Return a box with its surroundings in whole pixels; None where the crop ends before."""
    margin = (box[2:] - box[:2]) * (_CONTEXT - 1) / 2
    low, high = np.floor(box[:2] - margin), np.ceil(box[2:] + margin)
    if (low < 0).any() or (high > size).any():
        return None
    return _Area(*low.astype(int).tolist(), *high.astype(int).tolist())


def paste(image: NDArray[np.uint8], pastes: Sequence[Paste]) -> NDArray[np.uint8]:
    """Return an image (S, S, 3), uint8, with the copies in it."""
    if not pastes:
        return image
    result = image.copy()
    for one in pastes:
        source, target = one.source, one.target
        copy = cv2.resize(
            image[source.top : source.bottom, source.left : source.right],
            target.size,
            interpolation=cv2.INTER_AREA,
        )
        behind = result[target.top : target.bottom, target.left : target.right]
        behind[:] = np.rint(behind + (copy.astype(np.float32) - behind) * one.mask()[..., None])
    return result
