"""Which names of a listing are photos."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final

__all__ = ["PHOTO_SUFFIXES", "RAW_SUFFIXES", "is_hidden", "is_read", "looks_like_photo"]

_READ: Final = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".webp"})
# Formats that the detector does not read are listed too: each such photo ends as an `unsupported_format`
# record, while a file that nobody would call a photo is none of the job's business.
PHOTO_SUFFIXES: Final = _READ | {".gif", ".tif", ".tiff", ".heic", ".heif", ".avif", ".jp2", ".jxl"}
"""Suffixes that say photo, in lower case, but for those of cameras; names of pictures follow from them."""

RAW_SUFFIXES: Final = frozenset(
    {
        ".3fr",
        ".arw",
        ".cr2",
        ".cr3",
        ".crw",
        ".dcr",
        ".dng",
        ".erf",
        ".gpr",
        ".iiq",
        ".kdc",
        ".mef",
        ".mrw",
        ".nef",
        ".nrw",
        ".orf",
        ".pef",
        ".raf",
        ".raw",
        ".rw2",
        ".rwl",
        ".sr2",
        ".srf",
        ".srw",
        ".x3f",
    }
)
"""Suffixes of what cameras write beside a JPEG or in its place, in lower case."""


def looks_like_photo(name: str) -> bool:
    """Whether a name is a photo's: a known suffix or none, and nothing of it hidden.

    Parameters
    ----------
    name : str
        The path below the source.
    """
    suffix = PurePosixPath(name).suffix.lower()
    return not is_hidden(name) and (not suffix or suffix in PHOTO_SUFFIXES or suffix in RAW_SUFFIXES)


def is_hidden(name: str) -> bool:
    """Whether a path below a source has a part that begins with a dot, as caches and bins of programs do."""
    if not (name.startswith(".") or "/." in name):
        return False
    # Keys of buckets may hold these two as they are.
    return any(part.startswith(".") and part not in {".", ".."} for part in name.split("/"))


def is_read(name: str) -> bool:
    """Whether the detector reads photos of this name's suffix; of others, only their bytes can tell."""
    suffix = PurePosixPath(name).suffix.lower()
    return suffix not in RAW_SUFFIXES and (suffix in _READ or suffix not in PHOTO_SUFFIXES)
