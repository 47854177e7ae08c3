"""Greedy non-maximum suppression in numpy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["non_maximum_suppression"]


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
    left, top, right, bottom = boxes.T
    areas = (right - left) * (bottom - top)
    order = np.argsort(-scores, kind="stable")
    kept: list[np.intp] = []
    while order.size and (limit is None or len(kept) < limit):
        best, rest = order[0], order[1:]
        kept.append(best)
        width = np.minimum(right[best], right[rest]) - np.maximum(left[best], left[rest])
        height = np.minimum(bottom[best], bottom[rest]) - np.maximum(top[best], top[rest])
        intersection = np.maximum(width, 0) * np.maximum(height, 0)
        # Compared as a product: boxes without an area would divide zero by zero.
        union = areas[best] + areas[rest] - intersection
        order = rest[intersection <= threshold * union]
    return np.asarray(kept, dtype=np.intp)
