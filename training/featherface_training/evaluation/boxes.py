"""Boxes as corners, compared without the border pixel that WIDER FACE's protocol adds."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["centres", "corners", "inside", "overlaps"]


def corners(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn left, top, width, height (N, 4 or more columns) into left, top, right, bottom; the rest stays."""
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:4], boxes[:, 4:]], 1)


def centres(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the centres (N, 2) of corner boxes (N, 4)."""
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def inside(points: NDArray[np.float64], boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which points (M, 2) lie in which corner boxes (N, 4), their sides included: shape (M, N)."""
    x, y = points[:, :1], points[:, 1:]
    return (boxes[:, 0] <= x) & (x <= boxes[:, 2]) & (boxes[:, 1] <= y) & (y <= boxes[:, 3])


def overlaps(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the intersection over union of corner boxes (M, 4) and (N, 4): shape (M, N)."""
    # a side at a time: arrays whose last axis has length 2 are slow
    across, down = (
        np.minimum(a[:, i + 2, None], b[:, i + 2]) - np.maximum(a[:, i, None], b[:, i]) for i in (0, 1)
    )
    shared = np.maximum(across, 0) * np.maximum(down, 0)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(-1) for boxes in (a, b)]
    union: NDArray[np.float64] = areas[0][:, None] + areas[1] - shared
    return shared / np.maximum(union, 1e-9)
