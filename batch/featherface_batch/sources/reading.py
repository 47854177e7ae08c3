"""Files that list photos: opened from a disk or a bucket, read row by row."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, cast

from featherface_batch.errors import SourceError
from featherface_batch.s3 import S3Address, S3Options, is_s3, s3_client, s3_reason

__all__ = ["as_size", "columnar_rows", "csv_rows", "json_rows", "open_file"]

_CHUNK: Final = 1024 * 1024
_ROWS_AT_ONCE: Final = 8192
_SPOOL_BYTES: Final = 8 * 1024 * 1024
_GZIP: Final = b"\x1f\x8b"
# The plan holds sizes in 64 bits; S3's largest object has 14 digits.
_SIZE_DIGITS: Final = 18


def as_size(value: object) -> int | None:
    """Return what a listing says of a photo's size in bytes; None where that is nothing, or no size."""
    text = "" if value is None else str(value)
    return int(text) if text.isdecimal() and len(text) <= _SIZE_DIGITS else None


@contextmanager
def open_file(place: str, options: S3Options, *, md5: str | None = None) -> Iterator[IO[bytes]]:
    """Open a local file or an object for reading and seeking; gzip is unpacked.

    Parameters
    ----------
    place : str
        A path or ``s3://bucket/key``.
    options : S3Options
    md5 : str, optional
        Hexadecimal digest that the bytes must have.

    Raises
    ------
    SourceError
        It cannot be read, or has other bytes than it should.
    """
    if is_s3(place):
        # On disk beyond a few MiB: a listing may be larger than memory.
        with tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES) as file:
            address = S3Address.parse(place)
            try:
                s3_client(options).download_fileobj(address.bucket, address.key, file)
            except Exception as error:
                raise SourceError(f"{place} cannot be read: {s3_reason(error).text}") from error
            _check(file, md5, place)
            yield _unpacked(file)
    else:
        with _open_local(place) as local:
            _check(local, md5, place)
            yield _unpacked(local)


def _open_local(place: str) -> IO[bytes]:
    try:
        return Path(place).open("rb")
    except OSError as error:
        raise SourceError(f"{place} cannot be read: {error.strerror or error}") from error


def _check(file: IO[bytes], md5: str | None, place: str) -> None:
    file.seek(0)
    if md5 is None:
        return
    digest = hashlib.md5(usedforsecurity=False)
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    if digest.hexdigest() != md5.lower():
        raise SourceError(f"{place} should have the MD5 {md5}, it has {digest.hexdigest()}: fetch it again")
    file.seek(0)


def _unpacked(file: IO[bytes]) -> IO[bytes]:
    start = file.read(2)
    file.seek(0)
    return cast(IO[bytes], gzip.GzipFile(fileobj=file, mode="rb")) if start == _GZIP else file


@contextmanager
def _reading(place: str) -> Iterator[None]:
    """Say of a file that breaks off or is no text which one it is."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise SourceError(f"{place} must be text in UTF-8, and is not: {error}. Save it as UTF-8") from error
    except (EOFError, OSError, zlib.error, csv.Error) as error:
        raise SourceError(f"{place} cannot be read to its end: {error}") from error


def csv_rows(file: IO[bytes], place: str) -> Iterator[list[str]]:
    """Yield the rows of a CSV file."""
    with _reading(place):
        yield from csv.reader(io.TextIOWrapper(file, encoding="utf-8-sig", newline=""))


def json_rows(file: IO[bytes], place: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON Lines file; empty lines are skipped."""
    with _reading(place):
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise SourceError(f"line {number} of {place} is not JSON: {error}") from error
            if not isinstance(row, dict):
                raise SourceError(f"line {number} of {place} must be a JSON object, got {type(row).__name__}")
            yield row


def columnar_rows(file: IO[bytes], place: str, kind: str, wanted: frozenset[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a Parquet or ORC file, of the wanted columns that it has.

    Parameters
    ----------
    file : binary file
    place : str
        For messages.
    kind : {"parquet", "orc"}
    wanted : frozenset of str
    """
    import pyarrow as pa

    try:
        for batch in _batches(file, kind, wanted):
            yield from batch.to_pylist()
    except pa.ArrowInvalid as error:
        raise SourceError(f"{place} is not a {kind} file: {error}") from error
    except (pa.ArrowException, OSError, ValueError) as error:
        # Bytes that were damaged on the way: compressed data and footers are OSErrors, texts are ValueErrors.
        raise SourceError(f"{place} cannot be read to its end as {kind}: {error}") from error


def _batches(file: IO[bytes], kind: str, wanted: frozenset[str]) -> Iterator[Any]:
    if kind == "parquet":
        from pyarrow import parquet

        table = parquet.ParquetFile(file)
        yield from table.iter_batches(
            _ROWS_AT_ONCE, columns=[name for name in table.schema_arrow.names if name in wanted]
        )
        return
    from pyarrow import orc

    stripes = orc.ORCFile(file)
    columns = [name for name in stripes.schema.names if name in wanted]
    for number in range(stripes.nstripes):
        yield stripes.read_stripe(number, columns=columns)
