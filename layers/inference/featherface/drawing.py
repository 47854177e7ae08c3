"""Annotated pictures: boxes, landmarks and confidences drawn on the upright photo."""

from __future__ import annotations

from typing import Final

from PIL import Image, ImageDraw, ImageFont

from featherface.detections import Detections
from featherface.images import ImageLimits, decode

__all__ = ["draw"]

_BOX: Final = (0, 230, 118)
_TEXT: Final = (0, 0, 0)
# Image left is warm, image right is cold, the nose is between: mirrored landmarks show at a glance.
_POINTS: Final = {
    "left_eye": (255, 82, 82),
    "right_eye": (64, 156, 255),
    "nose": (255, 235, 59),
    "mouth_left": (255, 145, 0),
    "mouth_right": (0, 229, 255),
}


def draw(
    data: bytes,
    detections: Detections,
    *,
    limits: ImageLimits | None = None,
    long_side: int | None = None,
) -> Image.Image:
    """Draw the faces of a photo.

    Parameters
    ----------
    data : bytes
        The photo that the detections are of.
    detections : Detections
        Their coordinates are pixels of the upright original photo.
    limits : ImageLimits, optional
        As in `featherface.images.decode`.
    long_side : int, optional
        Scale the picture down to at most this many pixels along the longer side.

    Returns
    -------
    PIL.Image.Image
        Mode RGB, upright.

    Raises
    ------
    ImageError
        The photo cannot be used.
    ValueError
        The detections are of a photo of another size.
    """
    photo = decode(data, limits=limits, long_side=long_side)
    detections.check_size(photo.width, photo.height)
    scale = min(1.0, (long_side or max(photo.width, photo.height)) / max(photo.width, photo.height))
    size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
    # Always a copy: decode may hand out what others hold.
    picture = photo.image.resize(size, Image.Resampling.BILINEAR, box=photo.region)
    across, down = size[0] / photo.width, size[1] / photo.height
    pen = ImageDraw.Draw(picture)
    for face in detections.faces:
        left, top = face.box.left * across, face.box.top * down
        right, bottom = face.box.right * across, face.box.bottom * down
        extent = min(right - left, bottom - top)
        line = max(1, round(min(max(size) / 400, extent / 12)))
        pen.rectangle((left, top, right, bottom), outline=_BOX, width=line)
        radius = max(1.0, min(extent / 22, max(size) / 160))
        for name, point in face.landmarks.items():
            x, y = point.x * across, point.y * down
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_POINTS[name])
        _label(pen, f"{face.confidence:.2f}", left, top, extent, size)
    return picture


def _label(
    pen: ImageDraw.ImageDraw, text: str, left: float, top: float, extent: float, size: tuple[int, int]
) -> None:
    """Write the confidence above the box, inside where the picture ends, not at all on tiny faces."""
    if extent < 16:
        return
    font = ImageFont.load_default(size=max(9.0, min(max(size) / 50, extent / 4)))
    box = pen.textbbox((0, 0), text, font=font)
    width, height = box[2] - box[0] + 4, box[3] - box[1] + 4
    x = min(left, size[0] - width)
    y = top - height if top >= height else top
    pen.rectangle((x, y, x + width, y + height), fill=_BOX)
    pen.text((x + 2 - box[0], y + 2 - box[1]), text, font=font, fill=_TEXT)
