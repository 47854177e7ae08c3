"""The plan: all photos of a source, cut into shards, the units that are committed as a whole.

A source's listing streams into files of at most `PART_PHOTOS` rows each, so its length never shows in memory.
Shards start small and grow: a small run still spreads over many workers and loses little to a crash, a large
one does not drown in small files. The last ones shrink again, so that all workers end at the same time.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain, islice
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from featherface_batch.records import Photo
from featherface_batch.storage import Storage

__all__ = ["PART_PHOTOS", "Part", "Plan", "Shard", "plan_photos", "read_part", "shard_sizes"]

PART_PHOTOS: Final = 65_536
"""Photos per file of the plan: a few MiB, read whole by one task."""

_SMALLEST: Final = 32
_LARGEST: Final = 1024
_SHARDS_PER_STEP: Final = 32
_CHUNK: Final = 1024
# The shards of what is left are this part of it: few enough to be done by this many workers together.
_ENDING: Final = 16
_FOLDER: Final = "_work/plan"
_SHARD: Final = pa.field("shard", pa.int32(), nullable=False)
_PHOTO: Final = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("location", pa.string(), nullable=False),
        pa.field("size", pa.int64()),
    ]
)


@dataclass(frozen=True, slots=True)
class Part:
    """One file of the plan.

    Parameters
    ----------
    name : str
        Unique within the run.
    photos, shards : int
        How many it holds.
    """

    name: str
    photos: int
    shards: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole plan's table of contents."""

    parts: tuple[Part, ...]

    @property
    def photos(self) -> int:
        """All photos of the run."""
        return sum(part.photos for part in self.parts)

    @property
    def shards(self) -> int:
        """All shards of the run."""
        return sum(part.shards for part in self.parts)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"photos": self.photos, "parts": [asdict(part) for part in self.parts]}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Plan:
        """Read what `to_dict` wrote."""
        return cls(tuple(Part(**part) for part in data["parts"]))


@dataclass(frozen=True, slots=True)
class Shard:
    """Photos that are committed together.

    Parameters
    ----------
    part : str
        The name of the plan's file.
    number : int
        Within the part.
    photos : tuple of Photo
    """

    part: str
    number: int
    photos: tuple[Photo, ...]


def shard_sizes(photos: int, number: int, *, ending: bool) -> list[int]:
    """Return how many photos each shard of a part holds.

    Parameters
    ----------
    photos : int
        Of the part.
    number : int
        The partition's shards before it.
    ending : bool
        Whether the partition ends with this part.
    """
    sizes: list[int] = []
    while photos:
        size = min(_SMALLEST << min((number + len(sizes)) // _SHARDS_PER_STEP, 16), _LARGEST)
        if ending:
            size = min(size, max(_SMALLEST, photos // _ENDING))
        sizes.append(min(size, photos))
        photos -= sizes[-1]
    return sizes


def plan_photos(photos: Iterable[Photo], index: int, storage: Storage) -> list[Part]:
    """Write the photos of one partition of a source into files of the plan.

    Parameters
    ----------
    photos : iterable of Photo
        Taken as they come, never all in memory.
    index : int
        The partition's place in the source's list; keeps the names of the files apart.
    storage : Storage
        The run's output.

    Returns
    -------
    list of Part
        Empty if the partition holds no photo.
    """
    parts: list[Part] = []
    photos = iter(photos)
    shards = 0
    while (first := next(photos, None)) is not None:
        tables: list[pa.Table] = []
        rows = 0
        chunks = islice(chain([first], photos), PART_PHOTOS)
        while chunk := list(islice(chunks, _CHUNK)):
            tables.append(_table(chunk))
            rows += len(chunk)
        sizes = shard_sizes(rows, shards, ending=rows < PART_PHOTOS)
        numbers = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
        part = Part(f"{index:05d}-{len(parts):05d}", rows, len(sizes))
        buffer = io.BytesIO()
        table = pa.concat_tables(tables).add_column(0, _SHARD, pa.array(numbers))
        pq.write_table(table, buffer, compression="zstd")
        storage.write(f"{_FOLDER}/{part.name}.parquet", buffer.getvalue())
        parts.append(part)
        shards += len(sizes)
    return parts


def read_part(name: str, storage: Storage) -> Iterator[Shard]:
    """Yield the shards of a file of the plan."""
    table = pq.read_table(io.BytesIO(storage.read(f"{_FOLDER}/{name}.parquet")))
    numbers = table.column("shard").to_numpy()
    start = 0
    while start < len(numbers):
        end = int(numbers.searchsorted(numbers[start], side="right"))
        rows = table.slice(start, end - start).select(["key", "location", "size"]).to_pylist()
        yield Shard(name, int(numbers[start]), tuple(Photo(**row) for row in rows))
        start = end


def _table(photos: list[Photo]) -> pa.Table:
    columns = [[getattr(photo, field.name) for photo in photos] for field in _PHOTO]
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, _PHOTO, strict=True)], _PHOTO
    )
