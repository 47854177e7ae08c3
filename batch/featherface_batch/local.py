"""Places on this machine as text: paths, and URIs for the names that are no text."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from featherface_batch.records import is_text

__all__ = ["from_file_uri", "key_of", "local_path", "location_of"]

_SCHEME: Final = "file://"
_OF_THIS_MACHINE: Final = ("", "localhost")


def from_file_uri(text: str) -> Path | None:
    """Return the path that a file URI of this machine means (RFC 8089), None if the text is none."""
    host, slash, rest = text.removeprefix(_SCHEME).partition("/")
    if not text.startswith(_SCHEME) or host.lower() not in _OF_THIS_MACHINE or not slash:
        return None
    return Path(os.fsdecode(unquote_to_bytes(f"/{rest}")))


def local_path(location: str) -> Path:
    """Return the path that `location_of` wrote."""
    return from_file_uri(location) or Path(location)


def location_of(path: Path) -> str:
    """Return a path as text: itself, or a file URI if its name, which on a disk is bytes, is not UTF-8."""
    return str(path) if is_text(str(path)) else path.absolute().as_uri()


def key_of(path: Path) -> str:
    """Return a path as a photo's key: itself, or its bytes percent-encoded if they are not UTF-8."""
    key = path.as_posix()
    return key if is_text(key) else quote(os.fsencode(key))
