"""Bodies of ``multipart/form-data`` (RFC 7578), as bytes from end to end.

The standard library's parser is one for mail: it reads the body as lines of text, which takes several times
the photo's memory and time.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from shared.errors import RequestError

__all__ = ["Part", "read_parts"]

_BOUNDARY: Final = re.compile(r';\s*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_PARAMETER: Final = re.compile(r';\s*([^\s;="]+)=(?:"([^"]*)"|([^\s;"]+))')
_MAX_PARTS: Final = 32
_MAX_HEAD_BYTES: Final = 4096


class Part(NamedTuple):
    """One part of a form: its field's name and its content."""

    name: str
    content: bytes


def read_parts(body: bytes, content_type: str) -> list[Part]:
    """Take a form apart.

    Parameters
    ----------
    body : bytes
    content_type : str
        The request's header, which names the boundary.

    Raises
    ------
    RequestError
        It is no form.
    """
    found = _BOUNDARY.search(content_type)
    if not found:
        raise RequestError("multipart/form-data must name its boundary in the Content-Type header")
    delimiter = b"\r\n--" + (found[1] or found[2]).encode("latin-1", "replace")
    # the first delimiter has no line before it when there is no preamble
    pieces = (b"\r\n" + body).split(delimiter, _MAX_PARTS + 2)
    if len(pieces) < 2:
        raise RequestError("the form's boundary does not occur in its body")
    parts: list[Part] = []
    for piece in pieces[1:]:
        if piece.startswith(b"--"):
            return parts
        parts.append(_read_part(piece))
        if len(parts) > _MAX_PARTS:
            raise RequestError(f"the form has more than {_MAX_PARTS} parts")
    raise RequestError("the form is cut off: its closing boundary is missing")


def _read_part(piece: bytes) -> Part:
    # After the delimiter come blanks and the end of its line, then header lines, an empty line, the content.
    _, _, rest = piece.partition(b"\r\n")
    head, empty, content = (b"\r\n" + rest).partition(b"\r\n\r\n")
    if not empty or len(head) > _MAX_HEAD_BYTES:
        raise RequestError("a part of the form has no header lines followed by an empty line")
    for line in head.decode("utf-8", "replace").split("\r\n"):
        field, _, value = line.partition(":")
        if field.strip().lower() == "content-disposition":
            # one after the other, so that what looks like a name within a quoted text is none
            for parameter, quoted, plain in _PARAMETER.findall(value):
                if parameter.lower() == "name":
                    return Part(quoted or plain, content)
    raise RequestError("a part of the form has no Content-Disposition with a name")
