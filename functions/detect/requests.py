"""What a request asks for: a photo and options, out of any of the accepted bodies."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from detect.options import RequestOptions, read_options
from shared.errors import MediaTypeError, RequestError
from shared.photos import StoredPhoto

__all__ = ["DetectRequest", "read_photo", "read_request"]

RAW_TYPES: Final = (
    "image/jpeg",
    "image/png",
    "image/bmp",
    "image/x-ms-bmp",
    "image/webp",
    "application/octet-stream",
)
"""Media types of a body that is the photo itself; its content decides what it is, not this name."""

_ACCEPTED: Final = (
    "image/jpeg, image/png, image/bmp, image/webp, application/octet-stream or application/json"
)
_S3_MEMBERS: Final = {"bucket", "key", "versionId"}


@dataclass(frozen=True, slots=True)
class DetectRequest:
    """One photo, as bytes or by where it lies, and the options."""

    photo: bytes | StoredPhoto
    options: RequestOptions


def read_request(
    body: str | None, is_base64: bool, content_type: str, query: Mapping[str, str]
) -> DetectRequest:
    """Read the body of ``POST /v1/detect``.

    Parameters
    ----------
    body : str or None
        As the gateway hands it over.
    is_base64 : bool
        Whether the gateway encoded it.
    content_type : str
        The header; parameters such as a charset are passed over.
    query : mapping
        The query string.

    Raises
    ------
    RequestError
        The request cannot be understood; the subclass says why.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    data = _body_bytes(body, is_base64)
    if not data:
        raise RequestError(f"the body is empty; send a photo as {_ACCEPTED}")
    if media_type == "application/json":
        members = read_json(data)
        photo = read_photo(members)
        rest = {name: value for name, value in members.items() if name not in ("image", "s3")}
        return DetectRequest(photo, read_options(query, rest))
    if media_type in RAW_TYPES:
        if not is_base64:
            raise RequestError(
                "the photo came as text, so its bytes are lost; the gateway must list this type as binary, "
                'or send JSON {"image": base64}'
            )
        return DetectRequest(data, read_options(query, {}))
    raise MediaTypeError(f"Content-Type must be {_ACCEPTED}; got {media_type or 'none'}")


def read_json(data: bytes) -> dict[str, Any]:
    """Return a JSON body's members; raises RequestError for anything but an object."""
    try:
        members = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the body is not JSON: {type(error).__name__}") from error
    if not isinstance(members, dict):
        raise RequestError(f"the body must be a JSON object, got {type(members).__name__}")
    return members


def read_photo(members: Mapping[str, Any]) -> bytes | StoredPhoto:
    """Return the photo that a JSON object names, as ``image`` (base64) or ``s3``."""
    if ("image" in members) == ("s3" in members):
        raise RequestError('give exactly one of "image" (base64) and "s3" ({"bucket", "key", "versionId"?})')
    if "image" in members:
        return decode_base64(members["image"])
    place = members["s3"]
    if not isinstance(place, dict) or not {"bucket", "key"} <= place.keys() <= _S3_MEMBERS:
        raise RequestError('"s3" must be {"bucket": ..., "key": ..., "versionId"?: ...}')
    for name, value in place.items():
        if not isinstance(value, str) or not value:
            raise RequestError(f"s3.{name} must be a text that is not empty, got {type(value).__name__}")
    return StoredPhoto(place["bucket"], place["key"], place.get("versionId"))


def decode_base64(text: object) -> bytes:
    """Return the bytes of a base64 member; raises RequestError for anything else."""
    if not isinstance(text, str) or not text:
        raise RequestError(f'"image" must be the photo in base64, got {type(text).__name__}')
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(
            f'"image" is not base64 ({error}); give the bytes only, no data: prefix'
        ) from error


def _body_bytes(body: str | None, is_base64: bool) -> bytes:
    if not body:
        return b""
    if not is_base64:
        return body.encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(f"the body is marked as base64 but is not ({error})") from error
