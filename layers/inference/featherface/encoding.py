"""Pictures as files."""

from __future__ import annotations

import io
from typing import Final

from PIL import Image

__all__ = ["to_jpeg"]

_QUALITY: Final = 85


def to_jpeg(picture: Image.Image) -> bytes:
    """Return a picture as a JPEG.

    Parameters
    ----------
    picture : PIL.Image.Image
        Mode RGB. Of its metadata only the colour profile is kept.

    Returns
    -------
    bytes
    """
    buffer = io.BytesIO()
    # Pillow writes comments of ``info`` by itself, but no profile.
    picture.save(buffer, "JPEG", quality=_QUALITY, comment=b"", icc_profile=picture.info.get("icc_profile"))
    return buffer.getvalue()
