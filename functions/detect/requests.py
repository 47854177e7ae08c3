"""What a request asks for: a photo and options, out of any of the accepted bodies."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from detect.options import RequestOptions, read_options
from shared.bodies import Body, read_json
from shared.errors import MediaTypeError, PayloadTooLargeError, RequestError
from shared.photos import StoredPhoto

__all__ = [
    "BINARY_TYPES",
    "MAX_PHOTOS",
    "BatchRequest",
    "DetectRequest",
    "decode_base64",
    "read_batch_request",
    "read_request",
]

MAX_PHOTOS: Final = 8
"""Photos that one call of the batch endpoint may carry."""

RAW_TYPES: Final = (
    "image/jpeg",
    "image/png",
    "image/bmp",
    "image/x-ms-bmp",
    "image/webp",
    "application/octet-stream",
)
"""Media types of a body that is the photo itself; its content decides what it is, not this name."""

BINARY_TYPES: Final = (*RAW_TYPES, "multipart/form-data")
"""Media types that the gateway must hand over in base64."""

_ACCEPTED: Final = (
    "image/jpeg, image/png, image/bmp, image/webp, application/octet-stream, multipart/form-data "
    "or application/json"
)
_S3_MEMBERS: Final = {"bucket", "key", "versionId"}


class DetectRequest(NamedTuple):
    """One photo, as bytes or by where it lies, and the options."""

    photo: bytes | StoredPhoto
    options: RequestOptions


class BatchRequest(NamedTuple):
    """Several photos, each good or already known to be bad, and the options of all."""

    photos: tuple[bytes | StoredPhoto | RequestError, ...]
    options: RequestOptions


def read_request(body: Body, query: Mapping[str, str]) -> DetectRequest:
    """Read a request with one photo.

    Parameters
    ----------
    body : Body
    query : mapping
        The query string.

    Raises
    ------
    RequestError
        The request cannot be understood; the subclass says why.
    """
    if body.media_type == "application/json":
        members = read_json(body)
        photo = _read_photo(members)
        rest = {name: value for name, value in members.items() if name not in ("image", "s3")}
        return DetectRequest(photo, read_options(query, rest))
    if body.media_type == "multipart/form-data":
        photo, fields = _read_form(body)
        return DetectRequest(photo, read_options(query, fields))
    if body.media_type in RAW_TYPES:
        return DetectRequest(body.read_binary(), read_options(query, {}))
    body.read()  # an empty body is the plainer mistake
    raise MediaTypeError(f"Content-Type must be {_ACCEPTED}; got {body.media_type or 'none'}")


def read_batch_request(body: Body, query: Mapping[str, str]) -> BatchRequest:
    """Read a request with several photos; raises as `read_request`, but not for one photo among them."""
    if body.media_type != "application/json":
        raise MediaTypeError(f"Content-Type must be application/json; got {body.media_type or 'none'}")
    members = read_json(body)
    images = members.pop("images", None)
    if not isinstance(images, list) or not images:
        raise RequestError('"images" must be a list of {"image": base64} or {"s3": {"bucket", "key"}}')
    if len(images) > MAX_PHOTOS:
        raise PayloadTooLargeError(f"one call may carry {MAX_PHOTOS} photos; got {len(images)}")
    return BatchRequest(tuple(map(_read_entry, images)), read_options(query, members))


def _read_entry(entry: object) -> bytes | StoredPhoto | RequestError:
    try:
        if not isinstance(entry, dict):
            raise RequestError(f"each of the images must be an object, got {type(entry).__name__}")
        unknown = sorted(map(str, entry.keys() - {"image", "s3"}))
        if unknown:
            raise RequestError(f"an image may have the members image or s3; got {', '.join(unknown)}")
        return _read_photo(entry)
    except RequestError as error:
        return error


def _read_form(body: Body) -> tuple[bytes, dict[str, str]]:
    # imported here: few callers send forms
    from detect.multipart import read_parts

    photos: list[bytes] = []
    fields: dict[str, str] = {}
    for part in read_parts(body.read_binary(), body.content_type):
        if part.name == "image":
            photos.append(part.content)
        elif part.name in fields:
            raise RequestError(f"the form has the field {part.name!r} twice")
        else:
            fields[part.name] = part.content.decode("utf-8", "replace")
    if len(photos) != 1 or not photos[0]:
        raise RequestError(f'the form must have one part "image" that is not empty; it has {len(photos)}')
    return photos[0], fields


def _read_photo(members: Mapping[str, Any]) -> bytes | StoredPhoto:
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
        try:
            return base64.b64decode(text, validate=True)
        except binascii.Error:
            # some encoders break lines; looking for blanks first would copy every photo
            return base64.b64decode("".join(text.split()), validate=True)
    except ValueError as error:
        raise RequestError(
            f'"image" is not base64 ({error}); give the bytes only, no data: prefix'
        ) from error
