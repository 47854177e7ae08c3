"""Storage: places that files are read from and written to."""

from __future__ import annotations

from pathlib import Path
from stat import S_ISDIR

from featherface_batch.errors import UsageError
from featherface_batch.s3 import S3Address, S3Options, is_s3
from featherface_batch.storage.folder import LocalStorage
from featherface_batch.storage.prefix import S3Storage
from featherface_batch.storage.storage import Storage

__all__ = ["LocalStorage", "S3Storage", "Storage", "open_storage"]


def open_storage(place: str, options: S3Options) -> Storage:
    """Return the storage at a place.

    Parameters
    ----------
    place : str
        ``s3://bucket/prefix``, or the path of a folder, which need not exist.
    options : S3Options

    Raises
    ------
    UsageError
        The place is neither, or no folder can be there.
    """
    if is_s3(place):
        return S3Storage(S3Address.parse(place), options)
    if "://" in place:
        raise UsageError(f"the place must be a folder or s3://bucket/prefix; got {place}")
    try:
        path = Path(place).expanduser().absolute()
        mode = path.stat().st_mode
    except FileNotFoundError:
        return LocalStorage(path)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"the place must be a folder or s3://bucket/prefix; {place} cannot be one: {reason}"
        ) from error
    if not S_ISDIR(mode):
        raise UsageError(f"the place must be a folder; {path} is a file")
    return LocalStorage(path)
