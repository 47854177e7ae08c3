"""Pictures of annotated photos: faces marked, or faces made unrecognisable."""

from __future__ import annotations

import io
from pathlib import PurePosixPath
from typing import Final

from PIL import Image

from featherface import Detections, ImageLimits
from featherface.drawing import draw
from featherface.images import decode

__all__ = ["blurred", "picture_name", "preview"]

_PREVIEW_SIDE: Final = 1024
_QUALITY: Final = 85
# What a blurred face is made of: a face of so few cells cannot be recognised, whatever its size was.
_CELLS: Final = 6
# Hair, chin and ears identify, too, and lie around the box.
_MARGIN: Final = 0.2


def preview(
    data: bytes, detections: Detections, limits: ImageLimits, long_side: int = _PREVIEW_SIDE
) -> bytes:
    """Return the photo as a JPEG, scaled down, with its faces drawn."""
    return _jpeg(draw(data, detections, limits=limits, long_side=long_side))


def blurred(data: bytes, detections: Detections, limits: ImageLimits) -> bytes:
    """Return the photo as an upright JPEG in full size without metadata, its faces made unrecognisable."""
    # A copy: the decoder may hand out pixels that it still holds.
    picture = decode(data, limits=limits).image.copy()
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
    return _jpeg(picture)


def picture_name(path: PurePosixPath) -> str:
    """Return the name of a photo's picture: its own, with ``.jpg`` added to what is not a JPEG's."""
    return str(path) if path.suffix.lower() in {".jpg", ".jpeg"} else f"{path}.jpg"


def _jpeg(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()
