"""Places that files are read from and written to: a folder of this machine, or a prefix of a bucket.

Files appear whole or not at all: locally by renaming a finished temporary file, in S3 because an upload
becomes visible when it is complete.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from featherface_batch.errors import StorageError, UsageError
from featherface_batch.multipart import concatenate, upload
from featherface_batch.s3 import S3Address, S3Options, is_s3, s3_client, s3_reason

__all__ = ["LocalStorage", "S3Storage", "Storage", "open_storage"]

_PARTIAL = ".partial"
_PIECE_BYTES = 1024 * 1024


class Storage(Protocol):
    """Named files below one root; names are relative and use forward slashes."""

    @property
    def root(self) -> str:
        """The place, as the user would write it."""
        ...

    def read(self, name: str) -> bytes:
        """Return a file's content; FileNotFoundError if there is none."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Write or replace a file."""
        ...

    def write_many(self, files: Sequence[tuple[str, bytes]]) -> None:
        """Write or replace many small files; each appears whole, in any order."""
        ...

    def writer(self, name: str) -> Any:
        """Open a binary file for a ``with`` block; the file appears when the block ends without an error."""
        ...

    def concatenate(self, name: str, pieces: Sequence[str | bytes]) -> None:
        """Write a file that is other files (by their names) and bytes one after the other."""
        ...

    def names(self, folder: str) -> Iterator[str]:
        """Yield the names of all files below a folder ("" is the root), sorted."""
        ...

    def delete(self, name: str) -> None:
        """Delete a file; no error if there is none."""
        ...

    def delete_many(self, names: Sequence[str]) -> None:
        """Delete files; no error for those that are not there."""
        ...

    def sweep(self) -> None:
        """Remove what writers left that were killed; only when nobody writes."""
        ...

    def describe(self, name: str) -> str:
        """Return where a file lies, as the user would write it."""
        ...


@dataclass(frozen=True, slots=True)
class LocalStorage:
    """A folder of this machine.

    Parameters
    ----------
    folder : Path
    """

    folder: Path

    @property
    def root(self) -> str:
        """The folder's path."""
        return str(self.folder)

    def read(self, name: str) -> bytes:
        """Return a file's content; FileNotFoundError if there is none."""
        return (self.folder / name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        """Write or replace a file."""
        with self.writer(name) as file:
            file.write(data)

    def write_many(self, files: Sequence[tuple[str, bytes]]) -> None:
        """Write or replace many small files; each appears whole, in any order."""
        for name, data in files:
            # Not forced to the disk one by one, which would take longer than making them did.
            with self.writer(name, durable=False) as file:
                file.write(data)

    @contextmanager
    def writer(self, name: str, *, durable: bool = True) -> Iterator[IO[bytes]]:
        """Open a binary file for a ``with`` block; the file appears when the block ends without an error."""
        path = self.folder / name
        temporary = path.with_name(f".{uuid.uuid4().hex[:12]}{_PARTIAL}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                yield file
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            raise StorageError(f"{path} cannot be written: {error.strerror or error}") from error
        finally:
            temporary.unlink(missing_ok=True)

    def concatenate(self, name: str, pieces: Sequence[str | bytes]) -> None:
        """Write a file that is other files (by their names) and bytes one after the other."""
        with self.writer(name) as file:
            for piece in pieces:
                if isinstance(piece, bytes):
                    file.write(piece)
                else:
                    with (self.folder / piece).open("rb") as source:
                        shutil.copyfileobj(source, file, _PIECE_BYTES)

    def names(self, folder: str) -> Iterator[str]:
        """Yield the names of all files below a folder ("" is the root), sorted."""
        start = self.folder / folder
        try:
            entries = sorted(os.scandir(start), key=lambda entry: entry.name)
        except FileNotFoundError:
            return
        for entry in entries:
            name = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir(follow_symlinks=False):
                yield from self.names(name)
            elif not entry.name.endswith(_PARTIAL):
                yield name

    def delete(self, name: str) -> None:
        """Delete a file; no error if there is none."""
        with suppress(FileNotFoundError):
            (self.folder / name).unlink()

    def delete_many(self, names: Sequence[str]) -> None:
        """Delete files; no error for those that are not there."""
        for name in names:
            self.delete(name)

    def sweep(self) -> None:
        """Remove what writers left that were killed; only when nobody writes."""
        for path in self.folder.rglob(f".*{_PARTIAL}"):
            path.unlink(missing_ok=True)

    def describe(self, name: str) -> str:
        """Return where a file lies."""
        return str(self.folder / name)


@dataclass(frozen=True, slots=True)
class S3Storage:
    """A prefix of a bucket.

    Parameters
    ----------
    address : S3Address
    options : S3Options
    """

    address: S3Address
    options: S3Options

    @property
    def root(self) -> str:
        """The address, ``s3://bucket/prefix``."""
        return str(self.address)

    def read(self, name: str) -> bytes:
        """Return a file's content; FileNotFoundError if there is none."""
        target = self.address.child(name)
        try:
            answer = self._client.get_object(Bucket=target.bucket, Key=target.key)
            return bytes(answer["Body"].read())
        except Exception as error:
            reason = s3_reason(error)
            if reason.missing:
                raise FileNotFoundError(str(target)) from error
            raise StorageError(f"{target} cannot be read: {reason.text}") from error

    def write(self, name: str, data: bytes) -> None:
        """Write or replace a file."""
        target = self.address.child(name)
        try:
            self._client.put_object(Bucket=target.bucket, Key=target.key, Body=data)
        except Exception as error:
            raise StorageError(f"{target} cannot be written: {s3_reason(error).text}") from error

    def write_many(self, files: Sequence[tuple[str, bytes]]) -> None:
        """Write or replace many small files; each appears whole, in any order."""
        with ThreadPoolExecutor(self.options.connections) as pool:
            for _ in pool.map(self.write, *zip(*files, strict=True)) if files else ():
                pass

    @contextmanager
    def writer(self, name: str) -> Iterator[IO[bytes]]:
        """Open a binary file for a ``with`` block; the file appears when the block ends without an error."""
        target = self.address.child(name)
        with upload(self._client, target) as file:
            yield file

    def concatenate(self, name: str, pieces: Sequence[str | bytes]) -> None:
        """Write a file that is other files (by their names) and bytes one after the other."""
        target = self.address.child(name)
        sources = [piece if isinstance(piece, bytes) else self.address.child(piece) for piece in pieces]
        concatenate(self._client, target, sources)

    def names(self, folder: str) -> Iterator[str]:
        """Yield the names of all files below a folder ("" is the root), sorted."""
        start = self.address.child(f"{folder}/" if folder else "")
        skip = len(self.address.child("").key)
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=start.bucket, Prefix=start.key)
        try:
            for page in pages:
                for entry in page.get("Contents", ()):
                    yield entry["Key"][skip:]
        except Exception as error:
            raise StorageError(f"{start} cannot be listed: {s3_reason(error).text}") from error

    def delete(self, name: str) -> None:
        """Delete a file; no error if there is none."""
        target = self.address.child(name)
        try:
            self._client.delete_object(Bucket=target.bucket, Key=target.key)
        except Exception as error:
            raise StorageError(f"{target} cannot be deleted: {s3_reason(error).text}") from error

    def delete_many(self, names: Sequence[str]) -> None:
        """Delete files; no error for those that are not there."""
        with ThreadPoolExecutor(self.options.connections) as pool:
            for _ in pool.map(self.delete, names):
                pass

    def sweep(self) -> None:
        """Do nothing: S3 shows no upload before it is whole, and a lifecycle rule ends abandoned ones."""

    def describe(self, name: str) -> str:
        """Return where a file lies."""
        return str(self.address.child(name))

    @property
    def _client(self) -> Any:
        return s3_client(self.options)


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
        The place is neither.
    """
    if is_s3(place):
        return S3Storage(S3Address.parse(place), options)
    if "://" in place:
        raise UsageError(f"the place must be a folder or s3://bucket/prefix; got {place}")
    path = Path(place).expanduser().absolute()
    if path.exists() and not path.is_dir():
        raise UsageError(f"the place must be a folder; {path} is a file")
    return LocalStorage(path)
