"""Photos that two collections share: what measures a model must not have trained it."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from .photos import read_pixels

__all__ = ["Gallery", "difference_hash"]

_SIDE = 8
# of 64: between copies in other sizes 0 to 3 differ, between photos of other things rarely this few
_ALIKE = 6


def _shrunk(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    grey = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY).astype(np.float32)
    return np.asarray(cv2.resize(grey, (_SIDE + 1, _SIDE), interpolation=cv2.INTER_AREA), np.float32)


def _brighter(small: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.packbits(small[:, 1:] > small[:, :-1])


def difference_hash(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return where a photo, made eight rows of nine grey pixels, gets brighter to the right.

    Copies of a photo in another size or compression, or with other colours, have nearly the same.

    Parameters
    ----------
    pixels : ndarray, shape (H, W, 3), uint8
        BGR.

    Returns
    -------
    ndarray, shape (8,), uint8
        A bit for each of 64 pairs of neighbours, a byte a row.
    """
    return _brighter(_shrunk(pixels))


class Gallery:
    """Photos that others are compared with.

    Parameters
    ----------
    paths : sequence of Path
        At least one.

    Raises
    ------
    LabelError
        If OpenCV can't read one.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        bar = tqdm(paths, desc="gallery", unit="photo", disable=None, leave=False)
        self._hashes = np.stack([difference_hash(read_pixels(path)) for path in bar])

    def resembles(self, pixels: NDArray[np.uint8]) -> bool:
        """Tell whether a photo (H, W, 3), or its mirror image, looks like one of the gallery's."""
        small = _shrunk(pixels)
        both = np.stack([_brighter(small), _brighter(small[:, ::-1])])
        return bool(np.bitwise_count(self._hashes[None] ^ both[:, None]).sum(-1).min() <= _ALIKE)
