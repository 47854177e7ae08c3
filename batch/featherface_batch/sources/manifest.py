"""A manifest as a source: a file that names the photos."""

from __future__ import annotations

import hashlib
import logging
import re
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal

from featherface_batch.errors import SourceError
from featherface_batch.local import from_file_uri, key_of, location_of
from featherface_batch.records import Photo, is_text
from featherface_batch.s3 import S3Options, is_s3
from featherface_batch.sources.reading import as_size, columnar_rows, csv_rows, json_rows, open_file

__all__ = ["ManifestSource"]

_LOGGER: Final = logging.getLogger(__name__)
_KINDS: Final = {
    ".csv": "csv",
    ".jsonl": "json",
    ".ndjson": "json",
    ".manifest": "json",
    ".parquet": "parquet",
}
_LOCATIONS: Final = (
    "source-ref",
    "location",
    "uri",
    "url",
    "path",
    "file_name",
    "filename",
    "image",
    "photo",
)
# A heading that nobody here knows, such as "image_path" or "path;label": places have a dot or a slash.
_WORDS: Final = re.compile(r"[^\W\d][\w\s;|-]*")
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_NAMING: Final = frozenset({*_LOCATIONS, "key"})
_COLUMNS: Final = frozenset({*_LOCATIONS, "bucket", "key", "size"})


@dataclass(frozen=True, slots=True)
class ManifestSource:
    """The photos that a CSV, JSON Lines or Parquet file names, also one that Rekognition or SageMaker wrote.

    A row names its photo in ``source-ref``, ``location``, ``uri``, ``url``, ``path``, ``file_name``,
    ``filename``, ``image`` or ``photo``, or in ``bucket`` and ``key``. A CSV file without such a heading has
    one column with the location, or two with bucket and key; other columns are refused. Relative locations
    start at the manifest's own folder; ``file://`` URIs mean this machine, in a manifest that lies on it. A
    photo that is named twice is annotated once; of two photos with one key (``b/a.jpg`` below the manifest's
    folder and ``s3://b/a.jpg``) the second has its location as its key.

    Parameters
    ----------
    place : str
        A path or ``s3://bucket/key``.
    options : S3Options
    """

    place: str
    options: S3Options

    @staticmethod
    def kind(place: str) -> str | None:
        """Return the kind of manifest that a name means, None if it means none."""
        return _KINDS.get(PurePosixPath(place.removesuffix(".gz")).suffix.lower())

    @property
    def name(self) -> str:
        """The manifest's place."""
        return self.place

    def partitions(self) -> list[str]:
        """Return one partition: a file is read from its start to its end."""
        return [""]

    def photos(self, partition: str) -> Iterator[Photo]:
        """Yield the photos in the manifest's order."""
        with open_file(self.place, self.options) as file, _Seen() as seen:
            kind = self.kind(self.place)
            if kind == "csv":
                rows = self._csv_rows(csv_rows(file, self.place))
            elif kind == "json":
                rows = json_rows(file, self.place)
            else:
                rows = columnar_rows(file, self.place, "parquet", _COLUMNS)
            for number, row in enumerate(rows, 1):
                photo = self._photo(row, number)
                if seen.is_new(photo.location):
                    yield photo if seen.is_new_key(photo.key) else replace(photo, key=photo.location)
            if seen.repeated:
                _LOGGER.warning("%s names %d photos more than once", self.place, seen.repeated)

    def in_order(self) -> Iterator[Photo]:
        """Yield all photos in the manifest's order."""
        return self.photos("")

    def _csv_rows(self, rows: Iterator[list[str]]) -> Iterator[dict[str, Any]]:
        first = next(filter(None, rows), None)
        if first is None:
            return
        heading = [name.strip().lower() for name in first]
        if not _NAMING.intersection(heading):
            heading = self._heading_of(first)
            rows = chain([first], rows)
        for row in rows:
            if row:
                yield dict(zip(heading, row, strict=False))

    def _heading_of(self, row: list[str]) -> list[str]:
        """Return what the columns of a file without a heading are, by its first row."""
        if not _WORDS.fullmatch(row[-1]):
            if len(row) == 1:
                return ["location"]
            if len(row) == 2 and _BUCKET.fullmatch(row[0]):
                return ["bucket", "key"]
        raise SourceError(
            f"the first row of {self.place} must be a heading with {', '.join(_LOCATIONS)}, or bucket and "
            "key, with commas between; without a heading it must be a photo's place, or a bucket and a key; "
            f"got {', '.join(row)}"
        )

    def _photo(self, row: Mapping[str, Any], number: int) -> Photo:
        size = as_size(row.get("size"))
        for value in row.values():
            if isinstance(value, str) and not is_text(value):
                raise SourceError(f"row {number} of {self.place} holds half a character: {value!r}")
        if row.get("bucket") and row.get("key"):
            return Photo(f"{row['bucket']}/{row['key']}", f"s3://{row['bucket']}/{row['key']}", size)
        location = next((str(row[name]) for name in (*_LOCATIONS, "key") if row.get(name)), None)
        if location is None:
            raise SourceError(
                f"row {number} of {self.place} names no photo: it needs one of {', '.join(_LOCATIONS)}, "
                f"or bucket and key; it has {', '.join(map(str, row)) or 'nothing'}"
            )
        if is_s3(location):
            return Photo(location.removeprefix("s3://"), location, size)
        # A manifest in a bucket may be a stranger's: it must not make workers read their machines' files.
        local = None if is_s3(self.place) else from_file_uri(location)
        if local is not None:
            return Photo(key_of(local), location_of(local), size)
        if "://" in location:
            places = "a path" if is_s3(self.place) else "a path, file:///path"
            raise SourceError(
                f"row {number} of {self.place} must be {places} or s3://bucket/key; got {location}"
            )
        return Photo(location, self._beside(location), size)

    def _beside(self, location: str) -> str:
        if is_s3(self.place):
            return f"{self.place.rpartition('/')[0]}/{location}"
        return str(Path(self.place).parent / location)


class _Seen:
    """Which locations and keys came before: on disk, for ten million of them need not fit in memory."""

    def __init__(self) -> None:
        self.repeated = 0

    def __enter__(self) -> _Seen:
        self._folder = tempfile.TemporaryDirectory()
        # Only this thread and only this run: none of the database's own safety is needed.
        self._database = sqlite3.connect(Path(self._folder.name) / "seen", isolation_level=None)
        for statement in (
            "PRAGMA journal_mode=OFF",
            "PRAGMA synchronous=OFF",
            "CREATE TABLE locations (digest BLOB PRIMARY KEY) WITHOUT ROWID",
            "CREATE TABLE keys (digest BLOB PRIMARY KEY) WITHOUT ROWID",
            "BEGIN",
        ):
            self._database.execute(statement)
        return self

    def is_new(self, location: str) -> bool:
        added = self._is_added("locations", location)
        self.repeated += not added
        return added

    def is_new_key(self, key: str) -> bool:
        return self._is_added("keys", key)

    def _is_added(self, table: Literal["locations", "keys"], text: str) -> bool:
        digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
        return self._database.execute(f"INSERT OR IGNORE INTO {table} VALUES (?)", (digest,)).rowcount == 1

    def __exit__(self, *_: object) -> None:
        self._database.close()
        self._folder.cleanup()
