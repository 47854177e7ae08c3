"""What the bytes of a photo announce, before anything is decoded."""

from __future__ import annotations

import re
from typing import Final

from featherface.errors import UnreadableImageError, UnsupportedFormatError

__all__ = ["check_scans", "sniff"]

# In a scan's data, 0xff is always followed by 0 or a restart marker (0xd0 to 0xd7).
_MAX_SCANS: Final = 64
_MARKER: Final = re.compile(rb"\xff([\x02-\xcf\xd8-\xfe])", re.DOTALL)
_START_OF_IMAGE, _END_OF_IMAGE, _START_OF_SCAN = 0xD8, 0xD9, 0xDA

_OTHER_FORMATS: Final = (
    (0, b"GIF8", "GIF"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (4, b"ftypavif", "AVIF"),
    (4, b"ftyphei", "HEIC"),
    (4, b"ftypmif1", "HEIF"),
    (4, b"ftyp", "MP4 or another ISO media file"),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (0, b"%PDF", "PDF"),
    (0, b"PK\3\4", "a ZIP archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"8BPS", "Photoshop"),
    (0, b"<", "text such as HTML, XML or SVG"),
    (0, b"{", "text such as JSON"),
)


def sniff(head: bytes) -> str:
    """Tell a photo's format.

    Parameters
    ----------
    head : bytes
        The first 16 bytes, or all if there are fewer.

    Returns
    -------
    str
        Pillow's name of the format: JPEG, PNG, BMP or WEBP.

    Raises
    ------
    UnreadableImageError
        There are no bytes.
    UnsupportedFormatError
        The bytes announce anything else.
    """
    if not head:
        raise UnreadableImageError("the photo is empty (0 bytes)")
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith(b"BM"):
        return "BMP"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    came = next((name for at, magic, name in _OTHER_FORMATS if head.startswith(magic, at)), None)
    if came is None:
        came = f"unknown content starting with {head[:8].hex(' ')}"
    raise UnsupportedFormatError(f"accepted are JPEG, PNG, BMP and WebP; this is {came}. Convert it first")


def check_scans(data: bytes | bytearray | memoryview) -> None:
    """Refuse a progressive JPEG that is made to stall its decoder.

    Every scan may refine every block of the photo and be only some fifty bytes long: a file within the limits
    could take hours (libjpeg-turbo's report LJT-01-004, "Two Issues with the JPEG Standard").

    Parameters
    ----------
    data : bytes-like
        The whole file.

    Raises
    ------
    UnreadableImageError
        It has more than 64 scans; encoders write about ten.
    """
    at = scans = 0
    while found := _MARKER.search(data, at):
        marker, at = found[1][0], found.end()
        if marker == _END_OF_IMAGE:
            return
        scans += marker == _START_OF_SCAN
        if scans > _MAX_SCANS:
            raise UnreadableImageError(f"the JPEG photo has more than {_MAX_SCANS} scans; save it anew")
        if marker != _START_OF_IMAGE:
            # Segments are skipped by their length: what they hold may look like markers.
            at += max(2, int.from_bytes(data[at : at + 2], "big"))
