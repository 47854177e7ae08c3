"""Reading photos as their labels see them."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from .wider import LabelError

__all__ = ["read_pixels"]


def read_pixels(path: Path) -> NDArray[np.uint8]:
    """Return a photo's BGR pixels (H, W, 3) as they are stored.

    Labels refer to those: the EXIF orientation is not applied.

    Raises
    ------
    LabelError
        If OpenCV can't read it.
    """
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise LabelError(f"{path} is not a photo that OpenCV can read: remove or replace it")
    return np.asarray(pixels, np.uint8)
