"""An S3 Inventory as a source: the listing of a bucket that AWS makes daily or weekly."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final
from urllib.parse import unquote_plus

from featherface_batch.errors import SourceError
from featherface_batch.records import Photo
from featherface_batch.s3 import S3Options
from featherface_batch.sources.naming import looks_like_photo
from featherface_batch.sources.reading import as_size, columnar_rows, csv_rows, open_file

__all__ = ["INVENTORY_NAME", "InventorySource"]

INVENTORY_NAME: Final = "manifest.json"
_WANTED: Final = frozenset({"key", "size", "is_latest", "is_delete_marker"})
_COLUMNS: Final = {
    "key": "key",
    "size": "size",
    "islatest": "is_latest",
    "isdeletemarker": "is_delete_marker",
}


@dataclass(frozen=True, slots=True)
class InventorySource:
    """The photos that an inventory lists, by its ``manifest.json``; CSV, ORC and Parquet.

    Old versions, deleted objects and what is hidden, as in folders, are left out. The data files are checked
    against their MD5.

    Parameters
    ----------
    place : str
        ``s3://bucket/.../manifest.json``.
    options : S3Options
    """

    place: str
    options: S3Options
    _manifest: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def name(self) -> str:
        """The place of ``manifest.json``."""
        return self.place

    def partitions(self) -> list[str]:
        """Return the inventory's data files."""
        return [str(file["key"]) for file in self._read()["files"]]

    def photos(self, partition: str) -> Iterator[Photo]:
        """Yield the photos that a data file lists."""
        manifest = self._read()
        (checksum,) = (file.get("MD5checksum") for file in manifest["files"] if file["key"] == partition)
        bucket = str(manifest["destinationBucket"]).rpartition(":")[2]
        place = f"s3://{bucket}/{partition}"
        with open_file(place, self.options, md5=checksum) as file:
            kind = str(manifest["fileFormat"]).lower()
            if kind == "csv":
                rows = _csv(csv_rows(file, place), str(manifest["fileSchema"]))
            elif kind in {"orc", "parquet"}:
                rows = columnar_rows(file, place, kind, _WANTED)
            else:
                raise SourceError(f"{self.place} must be of format CSV, ORC or Parquet; got {kind}")
            for row in rows:
                key = row["key"]
                if row.get("is_latest") is False or row.get("is_delete_marker") is True:
                    continue
                if not key.endswith("/") and looks_like_photo(key):
                    yield Photo(key, f"s3://{manifest['sourceBucket']}/{key}", as_size(row.get("size")))

    def in_order(self) -> Iterator[Photo]:
        """Yield all photos, data file by data file."""
        return chain.from_iterable(map(self.photos, self.partitions()))

    def _read(self) -> dict[str, Any]:
        if not self._manifest:
            with open_file(self.place, self.options) as file:
                try:
                    content = json.load(file)
                    missing = {
                        "sourceBucket",
                        "destinationBucket",
                        "fileFormat",
                        "fileSchema",
                        "files",
                    } - set(content)
                except (ValueError, TypeError) as error:
                    raise SourceError(f"{self.place} is not an S3 Inventory's manifest: {error}") from error
            if missing:
                raise SourceError(
                    f"{self.place} is not an S3 Inventory's manifest: it lacks {', '.join(sorted(missing))}"
                )
            self._manifest.update(content)
        return self._manifest


def _csv(rows: Iterator[list[str]], schema: str) -> Iterator[dict[str, Any]]:
    names = [_COLUMNS.get(name.strip().lower()) for name in schema.split(",")]
    if "key" not in names:
        raise SourceError(f"an inventory needs a column Key; its schema is {schema}")
    for values in rows:
        row: dict[str, Any] = {name: value for name, value in zip(names, values, strict=False) if name}
        # Keys are URL-encoded in CSV files, and only there.
        row["key"] = unquote_plus(row["key"])
        for flag in ("is_latest", "is_delete_marker"):
            if flag in row:
                row[flag] = row[flag].lower() == "true"
        yield row
