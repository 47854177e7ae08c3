"""From upright pixels to the model's input, and from model coordinates back to the photo.

The photo is scaled, up or down, until its longer side has `size` pixels, keeping the aspect to the nearest
pixel. It is put at the top left of the input; the right and bottom are filled up to a multiple of 32 (the
stride of the coarsest feature map), or to the whole square. The filling is the mean colour, which is zero
after the mean has been subtracted: exactly what the network's own padding is made of.

Model coordinates are pixels of that input, x to the right, y down, the origin at the outer corner of its top
left pixel.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from featherface.images import DecodedImage

__all__ = ["FITS", "MEAN_BGR", "SIZES", "STRIDE", "Bucket", "Fit", "Transform", "plan", "to_model_input"]

Fit = Literal["long_side", "square"]
"""``long_side`` pads to the next multiples of 32; ``square`` to size x size: one shape for every photo."""

Bucket = tuple[int, int]
"""Height and width of a padded model input; photos of one bucket can share a batch."""

FITS: Final[tuple[Fit, ...]] = ("long_side", "square")
STRIDE: Final = 32
SIZES: Final = range(320, 1024 + 1, STRIDE)
"""The accepted input sizes in pixels."""

MEAN_BGR: Final = (104.0, 117.0, 123.0)
"""Subtracted from the 0 to 255 values of blue, green and red; nothing else is scaled."""


class Transform(NamedTuple):
    """How one photo lies in its model input.

    Parameters
    ----------
    width, height : int
        Size of the upright original photo in pixels.
    scaled_width, scaled_height : int
        Size of the photo within the input, in pixels: without the padding.
    bucket : tuple of int
        Height and width of the whole input in pixels.
    """

    width: int
    height: int
    scaled_width: int
    scaled_height: int
    bucket: Bucket

    def to_photo(self, points: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """Map model coordinates to the upright original photo.

        Rounding to whole pixels leaves each axis with a scale of its own, so each is mapped by its own.

        Parameters
        ----------
        points : ndarray, shape (..., 2 * k)
            x and y in turn, in model coordinates.

        Returns
        -------
        ndarray of float64, same shape
            Pixels of the upright original photo; not clipped.
        """
        scale = np.array([self.width / self.scaled_width, self.height / self.scaled_height])
        mapped: npt.NDArray[np.float64] = points * np.tile(scale, points.shape[-1] // 2)
        return mapped


def plan(width: int, height: int, size: int, fit: Fit) -> Transform:
    """Decide how a photo of `width` x `height` pixels is put into the model's input.

    Parameters
    ----------
    width, height : int
        Size of the upright original photo in pixels.
    size : int
        Pixels along the longer side of the scaled photo; one of `SIZES`.
    fit : {"long_side", "square"}
        How far to pad.

    Returns
    -------
    Transform
    """
    scale = size / max(width, height)
    # A sliver keeps at least one row or column.
    scaled_width = max(1, round(width * scale))
    scaled_height = max(1, round(height * scale))
    if fit == "square":
        bucket = (size, size)
    else:
        bucket = (-(-scaled_height // STRIDE) * STRIDE, -(-scaled_width // STRIDE) * STRIDE)
    return Transform(width, height, scaled_width, scaled_height, bucket)


def to_model_input(photo: DecodedImage, transform: Transform) -> npt.NDArray[np.float32]:
    """Scale, pad and subtract the mean.

    Parameters
    ----------
    photo : DecodedImage
    transform : Transform
        From `plan`, for this photo's size.

    Returns
    -------
    ndarray of float32, shape (3, H, W)
        Blue, green, red minus `MEAN_BGR`; zero where padded. (H, W) is the transform's bucket.
    """
    size = (transform.scaled_width, transform.scaled_height)
    image = photo.image
    if image.size != size or photo.region != (0.0, 0.0, float(size[0]), float(size[1])):
        # Pillow widens the bilinear kernel by the scale when it shrinks, so nothing aliases; decoding has
        # already brought the photo to less than twice the size, so there is nothing for reducing_gap to gain.
        image = image.resize(size, Image.Resampling.BILINEAR, box=photo.region)
    pixels = np.asarray(image)
    planes = np.zeros((3, *transform.bucket), dtype=np.float32)
    for channel, mean in enumerate(MEAN_BGR):
        target = planes[channel, : size[1], : size[0]]
        np.subtract(pixels[:, :, 2 - channel], np.float32(mean), out=target, dtype=np.float32)
    return planes
