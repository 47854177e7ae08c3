"""A photo's bytes, from a disk or a bucket, or a coded reason why there are none."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from typing import Any, Final, NoReturn

from featherface import ImageError, ImageTooLargeError
from featherface.containers import sniff
from featherface_batch.errors import (
    ArchivedPhotoError,
    DeniedPhotoError,
    FetchError,
    MissingPhotoError,
    PhotoError,
    TimeoutPhotoError,
)
from featherface_batch.local import local_path
from featherface_batch.records import Photo
from featherface_batch.s3 import S3Address, S3Options, is_s3, s3_client, s3_reason
from featherface_batch.sources.naming import is_read

__all__ = ["fetch"]

_CHUNK: Final = 256 * 1024
# Bytes that tell a photo's format.
_HEAD: Final = 16


def fetch(photo: Photo, options: S3Options, *, max_bytes: int, deadline: float) -> bytes:
    """Read a photo.

    Parameters
    ----------
    photo : Photo
    options : S3Options
    max_bytes : int
        A larger photo is refused before it is read.
    deadline : float
        The value of `time.monotonic` at which reading is given up.

    Raises
    ------
    PhotoError
        It is missing, denied, archived, slow or unreadable.
    ImageTooLargeError
        It has more than `max_bytes`.
    UnsupportedFormatError
        It has, and would not be read if it had less.
    """
    if is_s3(photo.location):
        return _fetch_s3(photo, options, max_bytes, deadline)
    return _fetch_local(photo, max_bytes)


def _fetch_local(photo: Photo, max_bytes: int) -> bytes:
    path = local_path(photo.location)
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except FileNotFoundError as error:
        raise MissingPhotoError(f"{photo.location} was listed, but is gone") from error
    except PermissionError as error:
        raise DeniedPhotoError(f"{photo.location} may not be read: {error.strerror}") from error
    except OSError as error:
        raise FetchError(f"{photo.location} cannot be read: {error.strerror or error}") from error
    if len(data) > max_bytes:
        _refuse_large(photo, path.stat().st_size, max_bytes, lambda: data)
    return data


def _fetch_s3(photo: Photo, options: S3Options, max_bytes: int, deadline: float) -> bytes:
    address = S3Address.parse(photo.location)
    try:
        answer = s3_client(options).get_object(Bucket=address.bucket, Key=address.key)
        with closing(answer["Body"]) as body:
            if answer["ContentLength"] > max_bytes:
                _refuse_large(photo, answer["ContentLength"], max_bytes, lambda: body.read(_HEAD))
            return _read(body, photo, deadline)
    except (PhotoError, ImageError):
        raise
    except Exception as error:
        raise _from_s3(photo, error) from error


def _read(body: Any, photo: Photo, deadline: float) -> bytes:
    chunks = []
    for chunk in body.iter_chunks(_CHUNK):
        chunks.append(chunk)
        if time.monotonic() > deadline:
            raise TimeoutPhotoError(f"{photo.location} was still being read when its time was over")
    return b"".join(chunks)


def _from_s3(photo: Photo, error: Exception) -> PhotoError:
    reason = s3_reason(error)
    if reason.missing:
        return MissingPhotoError(f"{photo.location} was listed, but is gone")
    if reason.archived:
        return ArchivedPhotoError(f"{photo.location} must be restored from its archive first: {reason.text}")
    if reason.denied:
        return DeniedPhotoError(f"{photo.location} may not be read: {reason.text}")
    if reason.timeout:
        return TimeoutPhotoError(f"{photo.location} gave no answer in time: {reason.text}")
    return FetchError(f"{photo.location} cannot be read: {reason.text}")


def _refuse_large(photo: Photo, size: int, max_bytes: int, head: Callable[[], bytes]) -> NoReturn:
    if not is_read(photo.key):
        # A higher limit would not help: such photos, of cameras above all, are large and of another format.
        sniff(head()[:_HEAD])
    raise ImageTooLargeError(f"{photo.location} has {size} bytes; the limit is {max_bytes}")
