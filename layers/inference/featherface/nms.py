"""Greedy non-maximum suppression in numpy, and the votes of what it suppresses."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, takewhile
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["VOTING_SHARE", "non_maximum_suppression", "suppress_and_vote"]

VOTING_SHARE: Final = 0.25
"""A box votes where one is kept if it has more than this part of its score."""

# Boxes that overlap less are often of a face beside.
_VOTING_OVERLAP: Final = 0.6


def non_maximum_suppression(
    boxes: npt.NDArray[np.floating],
    scores: npt.NDArray[np.floating],
    threshold: float,
    limit: int | None = None,
) -> npt.NDArray[np.intp]:
    """Keep the best boxes that do not overlap a better one.

    Parameters
    ----------
    boxes : ndarray, shape (K, 4)
        Left, top, right, bottom, in any one frame; extents are right - left and bottom - top (no pixel is
        added).
    scores : ndarray, shape (K,)
        Higher is better; of equals, the one that comes first wins.
    threshold : float
        A box goes when its intersection over union with a kept one is above this.
    limit : int, optional
        Stop after so many boxes.

    Returns
    -------
    ndarray of intp, shape (M,)
        Indices of the kept boxes, best first.
    """
    kept = [best for best, *_ in islice(_rounds(boxes, scores, threshold), limit)]
    return np.asarray(kept, dtype=np.intp)


def suppress_and_vote(
    boxes: npt.NDArray[np.floating],
    scores: npt.NDArray[np.floating],
    threshold: float,
    *,
    least: float,
    limit: int | None = None,
) -> list[tuple[np.intp, npt.NDArray[np.intp]]]:
    """Suppress as `non_maximum_suppression` does, and tell which boxes say where a kept one lies.

    Box voting (Gidaris and Komodakis, ICCV 2015): the mean of the boxes that agree lies better than the most
    confident of them alone.

    Parameters
    ----------
    boxes : ndarray, shape (K, 4)
    scores : ndarray, shape (K,)
        Not negative.
    threshold : float
    least : float
        A box with a lower score is not kept, but votes. The votes of all kept boxes are complete if all boxes
        with more than a quarter of this score are there.
    limit : int, optional
        Stop after so many boxes.

    Returns
    -------
    list of (intp, ndarray of intp, shape (V,))
        Indices of the kept boxes, best first, each with those of its voters: itself, and of the boxes that it
        suppresses those that overlap it by more than 0.6 and have more than a quarter of its score.
    """
    overlap = max(threshold, _VOTING_OVERLAP)
    rounds = takewhile(lambda found: scores[found[0]] >= least, _rounds(boxes, scores, threshold))
    elected = []
    for best, rest, intersection, union in islice(rounds, limit):
        agreeing = (intersection > overlap * union) & (scores[rest] > VOTING_SHARE * scores[best])
        elected.append((best, np.concatenate([(best,), rest[agreeing]])))
    return elected


def _rounds(
    boxes: npt.NDArray[np.floating], scores: npt.NDArray[np.floating], threshold: float
) -> Iterator[tuple[np.intp, npt.NDArray[np.intp], npt.NDArray[np.floating], npt.NDArray[np.floating]]]:
    """Yield each box that is kept, the boxes left behind it, and their intersections and unions with it."""
    left, top, right, bottom = boxes.T
    areas = (right - left) * (bottom - top)
    order = np.argsort(-scores, kind="stable")
    while order.size:
        best, rest = order[0], order[1:]
        width = np.minimum(right[best], right[rest]) - np.maximum(left[best], left[rest])
        height = np.minimum(bottom[best], bottom[rest]) - np.maximum(top[best], top[rest])
        intersection = np.maximum(width, 0) * np.maximum(height, 0)
        # Compared as a product: boxes without an area would divide zero by zero.
        union = areas[best] + areas[rest] - intersection
        yield best, rest, intersection, union
        order = rest[intersection <= threshold * union]
