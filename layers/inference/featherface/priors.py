"""Prior boxes, and how the network's numbers decode against them.

RetinaFace (Deng et al., CVPR 2020) with two square priors per cell on three levels; the decoding is SSD's
(Liu et al., ECCV 2016) with variances 0.1 for centres and landmarks and 0.2 for logarithmic sizes. All
coordinates are pixels of the model's input.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = [
    "CENTRE_VARIANCE",
    "LEVELS",
    "SIZE_VARIANCE",
    "decode_boxes",
    "decode_landmarks",
    "make_priors",
    "mirror_order",
]

LEVELS: Final = ((8, (16, 32)), (16, (64, 128)), (32, (256, 512)))
"""Stride and prior sides in pixels, from the finest level to the coarsest."""

CENTRE_VARIANCE: Final = 0.1
SIZE_VARIANCE: Final = 0.2

# No face is larger than this many times its prior; without the bound an outlier would overflow exp().
_MAX_LOG_SCALE: Final = math.log(1000.0)


# A service sees one or two dozen buckets (20 heights x 2 orientations per input size); 64 x 0.5 MB bounds the
# rest.
@lru_cache(maxsize=64)
def make_priors(height: int, width: int) -> npt.NDArray[np.float32]:
    """Return the priors of an input of `height` x `width` pixels.

    Parameters
    ----------
    height, width : int
        Size of the model's input in pixels.

    Returns
    -------
    ndarray of float32, shape (P, 4), read-only
        Centre x, centre y, width and height in pixels, level by level, row by row, cell by cell, smaller
        prior first: the order of the network's outputs.
    """
    levels = []
    for stride, sides in LEVELS:
        rows, columns = math.ceil(height / stride), math.ceil(width / stride)
        level = np.empty((rows, columns, len(sides), 4), dtype=np.float32)
        level[..., 0] = ((np.arange(columns) + 0.5) * stride)[None, :, None]
        level[..., 1] = ((np.arange(rows) + 0.5) * stride)[:, None, None]
        level[..., 2] = level[..., 3] = sides
        levels.append(level.reshape(-1, 4))
    priors = np.concatenate(levels)
    priors.flags.writeable = False
    return priors


# As many as `make_priors` keeps.
@lru_cache(maxsize=64)
def mirror_order(height: int, width: int) -> npt.NDArray[np.intp]:
    """Return which prior lies where a mirror shows each one.

    Parameters
    ----------
    height, width : int
        Size of the model's input in pixels, multiples of the coarsest stride: others are not symmetrical.

    Returns
    -------
    ndarray of intp, shape (P,), read-only
        For each row of `make_priors` the row that has the same centre from the right, and the same size.
    """
    levels, start = [], 0
    for stride, sides in LEVELS:
        shape = (height // stride, width // stride, len(sides))
        level = np.arange(start, start + math.prod(shape)).reshape(shape)
        levels.append(level[:, ::-1].reshape(-1))
        start += level.size
    order = np.concatenate(levels)
    order.flags.writeable = False
    return order


def decode_boxes(
    regressions: npt.NDArray[np.float32], priors: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Decode box regressions.

    Parameters
    ----------
    regressions : ndarray of float32, shape (K, 4)
        Offsets of the centre and logarithmic sizes, as the network gives them.
    priors : ndarray of float32, shape (K, 4)
        The matching rows of `make_priors`.

    Returns
    -------
    ndarray of float32, shape (K, 4)
        Left, top, right and bottom in pixels of the model's input; not clipped.
    """
    centres = priors[:, :2] + regressions[:, :2] * CENTRE_VARIANCE * priors[:, 2:]
    sizes = priors[:, 2:] * np.exp(np.minimum(regressions[:, 2:] * SIZE_VARIANCE, _MAX_LOG_SCALE))
    return np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1)


def decode_landmarks(
    regressions: npt.NDArray[np.float32], priors: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Decode landmark regressions.

    Parameters
    ----------
    regressions : ndarray of float32, shape (K, 10)
        Offsets of the five points, x and y in turn, as the network gives them.
    priors : ndarray of float32, shape (K, 4)
        The matching rows of `make_priors`.

    Returns
    -------
    ndarray of float32, shape (K, 10)
        Left eye, right eye, nose, left and right mouth corner, x and y in turn, in pixels of the model's
        input.
    """
    offsets = regressions.reshape(-1, 5, 2) * CENTRE_VARIANCE * priors[:, None, 2:]
    return (priors[:, None, :2] + offsets).reshape(-1, 10)
