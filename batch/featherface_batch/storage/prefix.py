"""A prefix of a bucket as a storage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from featherface_batch.errors import StorageError
from featherface_batch.s3 import S3Address, S3Options, s3_client, s3_reason
from featherface_batch.storage.multipart import concatenate, upload

__all__ = ["S3Storage"]


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

    def create(self, name: str, data: bytes) -> bool:
        """Write a file unless there is one; returns whether it did. Of many at once, one does."""
        target = self.address.child(name)
        try:
            self._client.put_object(Bucket=target.bucket, Key=target.key, Body=data, IfNoneMatch="*")
        except Exception as error:
            reason = s3_reason(error)
            if reason.present:
                return False
            if not reason.unknown:
                raise StorageError(f"{target} cannot be written: {reason.text}") from error
            # A server from before conditional writes: the last of many stays.
            self.write(name, data)
        return True

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
