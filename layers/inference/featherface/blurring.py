"""Copies of photos whose faces nobody can recognise."""

from __future__ import annotations

from typing import Final

from PIL import Image

from featherface.detections import Detections
from featherface.images import ImageLimits, decode

__all__ = ["blur"]

# What a blurred face is made of: a face of so few cells cannot be recognised, whatever its size was.
_CELLS: Final = 6
# Hair, chin and ears identify, too, and lie around the box.
_MARGIN: Final = 0.2


def blur(data: bytes, detections: Detections, *, limits: ImageLimits | None = None) -> Image.Image:
    """Make the faces of a photo unrecognisable.

    A face that is not among the detections stays as it is: look at the picture before you hand it on.

    Parameters
    ----------
    data : bytes
        The photo that the detections are of.
    detections : Detections
        Their coordinates are pixels of the upright original photo.
    limits : ImageLimits, optional
        As in `featherface.images.decode`.

    Returns
    -------
    PIL.Image.Image
        Mode RGB, upright, of the photo's size, with none of its metadata but the colour profile.

    Raises
    ------
    ImageError
        The photo cannot be used.
    ValueError
        The detections are of a photo of another size.
    """
    photo = decode(data, limits=limits)
    detections.check_size(photo.width, photo.height)
    # A copy: the decoder may hand out pixels that it still holds.
    picture = photo.image.copy()
    for face in detections.faces:
        across, down = face.box.width * _MARGIN, face.box.height * _MARGIN
        area = (
            max(0, int(face.box.left - across)),
            max(0, int(face.box.top - down)),
            min(picture.width, int(face.box.right + across) + 1),
            min(picture.height, int(face.box.bottom + down) + 1),
        )
        region = picture.crop(area)
        coarse = region.resize((_CELLS, _CELLS), Image.Resampling.BOX)
        picture.paste(coarse.resize(region.size, Image.Resampling.BICUBIC), area)
    return picture
