"""Poses in photos of sport: of people upside down or curled up detectors often miss the face."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .matlab import read_mat

__all__ = ["read_pose_heads"]

_NECK, _TOP = 12, 13
# of the distance from neck to crown: a head seen from the side is about as deep as that is long
_SIDE = 1.2


def read_pose_heads(path: Path) -> dict[str, NDArray[np.float64]]:
    """Read where the one head of each photo is, from the joints of Leeds Sports Pose Extended.

    Johnson and Everingham, Learning effective human pose estimation from inaccurate annotation, CVPR 2011.

    Parameters
    ----------
    path : Path
        `joints.mat`: x, y and a flag of 14 joints of each photo, in the order of their numbers.

    Returns
    -------
    dict of str to ndarray, shape (4,), float64
        Corners of a square about neck and crown, pixels of the photo, by its name; without the photos of
        which one of the two was not marked.

    Raises
    ------
    LabelError
        If the file has another layout.
    """
    with read_mat(path, "the joints of Leeds Sports Pose Extended") as variables:
        joints = np.asarray(variables["joints"], np.float64)
        _, _, photos = joints.shape
        neck, top = joints[_NECK, :2].T, joints[_TOP, :2].T
        marked = (joints[[_NECK, _TOP], 2] > 0).all(0)
    middles = (neck + top) / 2
    halves = _SIDE * np.linalg.norm(neck - top, axis=1)[:, None] / 2
    squares = np.concatenate([middles - halves, middles + halves], axis=1)
    return {f"im{number + 1:05d}.jpg": squares[number] for number in range(photos) if marked[number]}
