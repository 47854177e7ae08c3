"""Objects of any size into S3, part by part: written as a stream, or put together from other objects.

Nothing passes a disk, and no more than a few parts are in memory. Objects that are put together are copied
inside of S3: their bytes don't come here, except for those at the seams, where a part would be too small.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import IO, Any, Final, cast

from featherface_batch.errors import StorageError
from featherface_batch.s3 import S3Address, s3_reason

__all__ = ["concatenate", "upload"]

_MIB: Final = 1024 * 1024
# The protocol's own bounds: 10,000 parts of 5 MiB to 5 GiB, only the last may be smaller.
_SMALLEST: Final = 5 * _MIB
_COPIED: Final = 1024 * _MIB
_WRITTEN: Final = 16 * _MIB
# So many parts of a size, then the size doubles: a stream's length is not known before it ends.
_PARTS_OF_A_SIZE: Final = 1500
_AT_ONCE: Final = 4
_COPIES_AT_ONCE: Final = 16


@contextmanager
def upload(client: Any, target: S3Address) -> Iterator[IO[bytes]]:
    """Open an object for writing; it appears when the block ends without an error.

    Raises
    ------
    StorageError
        It cannot be written.
    """
    with _translated(target), _Parts(client, target, _AT_ONCE) as parts:
        stream = _Stream(parts)
        yield cast(IO[bytes], stream)
        stream.end()


def concatenate(client: Any, target: S3Address, pieces: Sequence[S3Address | bytes]) -> None:
    """Write an object that is other objects and bytes one after the other.

    Raises
    ------
    StorageError
        One of them cannot be read, or the object cannot be written.
    """

    def size_of(piece: S3Address | bytes) -> int:
        if isinstance(piece, bytes):
            return len(piece)
        return int(client.head_object(Bucket=piece.bucket, Key=piece.key)["ContentLength"])

    with _translated(target), _Parts(client, target, _COPIES_AT_ONCE) as parts:
        with ThreadPoolExecutor(_COPIES_AT_ONCE) as pool:
            sizes = list(pool.map(size_of, pieces))
        seam = b""
        for piece, size in zip(pieces, sizes, strict=True):
            if len(seam) >= _WRITTEN:
                parts.put(seam)
                seam = b""
            if isinstance(piece, bytes):
                seam += piece
                continue
            start = 0
            if seam and len(seam) < _SMALLEST:
                start = min(size, _SMALLEST - len(seam))
                seam += _read(client, piece, 0, start)
            if size - start < _SMALLEST:
                seam += _read(client, piece, start, size)
                continue
            if seam:
                parts.put(seam)
                seam = b""
            while start < size:
                # What is left is either nothing or enough for a part.
                end = size if size - start <= _COPIED + _SMALLEST else start + _COPIED
                parts.copy(piece, start, end)
                start = end
        parts.finish(seam)


class _Parts:
    """An upload in parts, some of them under way at the same time; a plain object if there is only one."""

    def __init__(self, client: Any, target: S3Address, at_once: int) -> None:
        self._client = client
        self._target = {"Bucket": target.bucket, "Key": target.key}
        self._upload: dict[str, str] = {}
        self._pool = ThreadPoolExecutor(at_once)
        self._at_once = at_once
        self._sent: list[Future[dict[str, Any]]] = []

    def __enter__(self) -> _Parts:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        if kind is not None and self._upload:
            with suppress(Exception):
                self._client.abort_multipart_upload(**self._target, **self._upload)

    @property
    def count(self) -> int:
        return len(self._sent)

    def put(self, data: bytes) -> None:
        def send(number: int) -> dict[str, Any]:
            answer = self._client.upload_part(
                **self._target, **self._upload, PartNumber=number, Body=data, ContentLength=len(data)
            )
            return {"PartNumber": number, "ETag": answer["ETag"]}

        self._submit(send)

    def copy(self, source: S3Address, start: int, end: int) -> None:
        def send(number: int) -> dict[str, Any]:
            answer = self._client.upload_part_copy(
                **self._target,
                **self._upload,
                PartNumber=number,
                CopySource={"Bucket": source.bucket, "Key": source.key},
                CopySourceRange=f"bytes={start}-{end - 1}",
            )
            return {"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]}

        self._submit(send)

    def finish(self, last: bytes) -> None:
        if not self._upload:
            self._client.put_object(**self._target, Body=last)
            return
        if last:
            self.put(last)
        parts = [part.result() for part in self._sent]
        self._client.complete_multipart_upload(
            **self._target, **self._upload, MultipartUpload={"Parts": parts}
        )

    def _submit(self, send: Callable[[int], dict[str, Any]]) -> None:
        if not self._upload:
            answer = self._client.create_multipart_upload(**self._target)
            self._upload = {"UploadId": answer["UploadId"]}
        if self.count >= self._at_once:
            # No more in memory than are under way; and the first error ends it.
            self._sent[self.count - self._at_once].result()
        self._sent.append(self._pool.submit(send, self.count + 1))


class _Stream(io.BufferedIOBase):
    """Cuts what is written into parts."""

    def __init__(self, parts: _Parts) -> None:
        self._parts = parts
        self._buffer = bytearray()
        self._written = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._written

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        self._buffer += data
        self._written += size
        limit = _WRITTEN << (self._parts.count // _PARTS_OF_A_SIZE)
        while len(self._buffer) > limit:
            self._parts.put(bytes(self._buffer[:limit]))
            del self._buffer[:limit]
        return size

    def end(self) -> None:
        self._parts.finish(bytes(self._buffer))


def _read(client: Any, piece: S3Address, start: int, end: int) -> bytes:
    if start == end:
        return b""
    where = {"Bucket": piece.bucket, "Key": piece.key, "Range": f"bytes={start}-{end - 1}"}
    return bytes(client.get_object(**where)["Body"].read())


@contextmanager
def _translated(target: S3Address) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise StorageError(f"{target} cannot be written: {s3_reason(error).text}") from error
