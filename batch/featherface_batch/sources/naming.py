"""Which names of a listing are photos."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final

__all__ = ["PHOTO_SUFFIXES", "looks_like_photo"]

# Formats that the detector does not read are listed too: each such photo ends as an `unsupported_format`
# record, while a file that nobody would call a photo is none of the job's business.
PHOTO_SUFFIXES: Final = frozenset(
    {
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".bmp",
        ".dib",
        ".webp",
        ".gif",
        ".tif",
        ".tiff",
        ".heic",
        ".heif",
        ".avif",
        ".jp2",
        ".jxl",
    }
)
"""Suffixes that say photo, in lower case."""


def looks_like_photo(name: str) -> bool:
    """Whether a name is a photo's: a known suffix or none, and not hidden."""
    path = PurePosixPath(name)
    return not path.name.startswith(".") and (path.suffix == "" or path.suffix.lower() in PHOTO_SUFFIXES)
