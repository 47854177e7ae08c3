"""Known heads in photos of crowds: what nobody finds a face on may have one all the same."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .matlab import read_mat

__all__ = ["around", "heads_file", "read_heads"]

# of the mean distance to the nearest heads: two standard deviations of the kernels of Zhang et al.
_SPREAD = 0.6
_NEIGHBOURS = 3
# pixels; a head that stands alone says nothing about its size
_SIDES = (8.0, 60.0)


def heads_file(photo: Path) -> Path:
    """Return where ShanghaiTech keeps the heads of a photo: `images/A.jpg`, `ground-truth/GT_A.mat`."""
    return photo.parent.parent / "ground-truth" / f"GT_{photo.stem}.mat"


def read_heads(path: Path) -> NDArray[np.float64]:
    """Read where the heads of a photo are (ShanghaiTech; Zhang et al., CVPR 2016), from whichever side seen.

    Returns
    -------
    ndarray, shape (H, 2), float64
        x and y, pixels of the photo.

    Raises
    ------
    LabelError
        If the file has another layout.
    """
    with read_mat(path, "the heads of a photo of ShanghaiTech") as variables:
        points = variables["image_info"][0, 0]["location"][0, 0]
        heads = np.asarray(points, np.float64).reshape(-1, 2)
    return heads


def around(heads: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a square about each head, of a size that its distance to the nearest others tells.

    Parameters
    ----------
    heads : ndarray, shape (H, 2)

    Returns
    -------
    ndarray, shape (H, 4), float64
        Corners. A side is six tenths of the mean distance to the three nearest, as wide as the kernels of
        Zhang et al., Single-image crowd counting via multi-column convolutional neural network, CVPR 2016.
    """
    distances = np.linalg.norm(heads[:, None] - heads[None], axis=2)
    nearest = np.sort(distances, axis=1)[:, 1 : 1 + _NEIGHBOURS]
    mean = nearest.mean(1) if nearest.shape[1] else np.full(len(heads), np.inf)
    halves = np.clip(_SPREAD * mean, *_SIDES)[:, None] / 2
    return np.concatenate([heads - halves, heads + halves], axis=1)
