"""Bodies of HTTP requests as the gateway hands them over."""

from __future__ import annotations

import base64
import binascii
import json
from collections import Counter
from typing import Any, Final, NamedTuple

from shared.errors import RequestError

__all__ = ["Body", "read_json"]

_MAX_SHOWN: Final = 80


class Body(NamedTuple):
    """A request's body.

    Parameters
    ----------
    text : str or None
    is_base64 : bool
        Whether the gateway encoded it.
    content_type : str
        The request's header.
    """

    text: str | None
    is_base64: bool
    content_type: str

    @property
    def media_type(self) -> str:
        """The content type without its parameters, in lower case."""
        return self.content_type.partition(";")[0].strip().lower()

    def read_any(self) -> bytes:
        """Return the bytes that the caller sent, which may be none."""
        if not self.is_base64:
            return (self.text or "").encode("utf-8", "surrogatepass")
        try:
            return base64.b64decode(self.text or "", validate=True)
        except (binascii.Error, ValueError) as error:
            raise RequestError(f"the body is marked as base64 but is not ({error})") from error

    def read(self) -> bytes:
        """Return the bytes that the caller sent; raises RequestError if there are none."""
        data = self.read_any()
        if not data:
            raise RequestError("the body is empty; the API's description says what to send")
        return data

    def read_binary(self) -> bytes:
        """Return the bytes of a body that is not text."""
        if self.text and not self.is_base64:
            raise RequestError(
                "the photo came as text, so its bytes are lost; the gateway must list this type as binary, "
                'or send JSON {"image": base64}'
            )
        return self.read()


def read_json(body: Body) -> dict[str, Any]:
    """Return a JSON body's members; raises RequestError for no object, and for a name given twice."""
    # text stays text: as bytes, JSON would be decoded once more, and a photo in base64 is long
    data = body.read() if body.is_base64 or not body.text else body.text
    try:
        members = json.loads(data, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the body is not JSON: {type(error).__name__}") from error
    if not isinstance(members, dict):
        raise RequestError(f"the body must be a JSON object, got {type(members).__name__}")
    return members


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise RequestError(f"the body gives {twice[:_MAX_SHOWN]!r} more than once")
    return members
