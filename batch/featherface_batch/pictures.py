"""Pictures of annotated photos: faces marked, or faces made unrecognisable."""

from __future__ import annotations

from typing import Final

from featherface import Detections, ImageLimits
from featherface.blurring import blur
from featherface.drawing import draw
from featherface.encoding import to_jpeg

__all__ = ["blurred", "preview"]

_PREVIEW_SIDE: Final = 1024


def preview(
    data: bytes, detections: Detections, limits: ImageLimits, long_side: int = _PREVIEW_SIDE
) -> bytes:
    """Return the photo as a JPEG, scaled down, with its faces drawn."""
    return to_jpeg(draw(data, detections, limits=limits, long_side=long_side))


def blurred(data: bytes, detections: Detections, limits: ImageLimits) -> bytes:
    """Return the photo as an upright JPEG in full size without metadata, its faces made unrecognisable."""
    return to_jpeg(blur(data, detections, limits=limits))
