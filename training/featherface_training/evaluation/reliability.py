"""How far a detector's confidence is from the probability that it is right."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .boxes import overlaps

__all__ = ["Judged", "Reliability", "judge", "reliability"]


@dataclass(frozen=True, slots=True)
class Judged:
    """Detections and whether each is right.

    Attributes
    ----------
    confidence : ndarray, shape (K,), float64
    right : ndarray, shape (K,), bool
    """

    confidence: NDArray[np.float64]
    right: NDArray[np.bool_]

    @classmethod
    def together(cls, parts: "Iterable[Judged]") -> "Judged":
        """Join what was judged photo by photo."""
        parts = list(parts)
        return cls(
            np.concatenate([np.empty(0), *(p.confidence for p in parts)]),
            np.concatenate([np.empty(0, bool), *(p.right for p in parts)]),
        )


@dataclass(frozen=True, slots=True)
class Reliability:
    """Confidence beside the share of right detections, in ten equal intervals of confidence.

    Attributes
    ----------
    count : ndarray, shape (10,), int64
    confidence, right : ndarray, shape (10,), float64
        Means; NaN where an interval is empty.
    error : float
        Expected calibration error (Naeini et al., AAAI 2015): the mean difference, weighted by count.
    """

    count: NDArray[np.int64]
    confidence: NDArray[np.float64]
    right: NDArray[np.float64]
    error: float


def judge(
    found: NDArray[np.float64], faces: NDArray[np.float64], counted: NDArray[np.bool_], *, iou: float = 0.5
) -> Judged:
    """Judge one photo's detections, the most confident first; a second one of the same face is wrong.

    Parameters
    ----------
    found : ndarray, shape (K, 5)
        Left, top, right, bottom in pixels, and the confidence.
    faces : ndarray, shape (F, 4)
        Corners of the known faces.
    counted : ndarray, shape (F,), bool
        Detections of the other faces are neither right nor wrong, and left out.
    iou : float
        Least overlap of a right detection.
    """
    found = found[np.argsort(-found[:, 4], kind="stable")]
    shared = overlaps(found[:, :4], faces)
    right, kept, taken = np.zeros(len(found), bool), np.ones(len(found), bool), np.zeros(len(faces), bool)
    for i, row in enumerate(shared):
        if len(faces) and row.max() >= iou:
            face = int(row.argmax())
            kept[i] = counted[face]
            right[i] = not taken[face]
            taken[face] = True
    return Judged(found[kept, 4], right[kept])


def reliability(judged: Judged) -> Reliability:
    """Compare confidence and truth."""
    which = np.minimum((judged.confidence * 10).astype(int), 9)
    count = np.bincount(which, minlength=10)
    with np.errstate(invalid="ignore"):
        confidence = np.bincount(which, judged.confidence, 10) / count
        right = np.bincount(which, judged.right, 10) / count
    error = float(np.nansum(np.abs(confidence - right) * count) / max(1, count.sum()))
    return Reliability(count, confidence, right, error)
