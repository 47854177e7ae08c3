"""Parquet: a table with a row per photo, its faces nested, and a flat table with a row per face."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, Final, Self

import pyarrow as pa
import pyarrow.parquet as pq

from featherface_batch.records import Outcome
from featherface_batch.sections import Section
from featherface_batch.storage import Storage

__all__ = ["ParquetSink"]

_ROWS_PER_GROUP: Final = 5000
_LANDMARKS: Final = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
_BOX: Final = pa.struct([(name, pa.float32()) for name in ("left", "top", "width", "height")])
_POINT: Final = pa.struct([("x", pa.float32()), ("y", pa.float32())])
_FACE: Final = pa.struct(
    [
        ("confidence", pa.float32()),
        ("box", _BOX),
        ("box_ratio", _BOX),
        ("landmarks", pa.struct([(name, _POINT) for name in _LANDMARKS])),
    ]
)
_PHOTOS: Final = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("location", pa.string(), nullable=False),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("face_count", pa.int32()),
        pa.field("faces", pa.list_(_FACE)),
        pa.field("error_code", pa.string()),
        pa.field("error_message", pa.string()),
    ]
)
_FACES: Final = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("face", pa.int32(), nullable=False),
        pa.field("confidence", pa.float32(), nullable=False),
        *(pa.field(name, pa.float32(), nullable=False) for name in ("left", "top", "width", "height")),
        *(pa.field(f"{name}_{axis}", pa.float32(), nullable=False) for name in _LANDMARKS for axis in "xy"),
        pa.field("photo_width", pa.int32(), nullable=False),
        pa.field("photo_height", pa.int32(), nullable=False),
    ]
)


class ParquetSink:
    """``parquet/photos/*.parquet`` and ``parquet/faces/*.parquet``.

    The photos' table has every photo of the run: one that failed has ``error_code`` and no ``faces``.

    A section writes one file of each.

    Parameters
    ----------
    storage : Storage
    section : Section
    """

    def __init__(self, storage: Storage, section: Section) -> None:
        name = f"part-{section.number:05d}.parquet"
        self._stack = ExitStack()
        self._photos = _Table(storage, f"parquet/photos/{name}", _PHOTOS)
        self._faces = _Table(storage, f"parquet/faces/{name}", _FACES)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for table in (self._photos, self._faces):
                stack.enter_context(table.open())
            self._stack = stack.pop_all()
        return self

    @classmethod
    def finish(cls, storage: Storage, sections: int) -> None:
        """Do nothing: a dataset is its files."""

    def add(self, outcome: Outcome) -> None:
        """Write a photo and its faces."""
        row: dict[str, Any] = {"key": outcome.photo.key, "location": outcome.photo.location}
        if outcome.detections is None:
            self._photos.add({**row, "error_code": outcome.code, "error_message": outcome.message})
            return
        size, faces = outcome.detections["image"], outcome.detections["faces"]
        self._photos.add({**row, **size, "face_count": len(faces), "faces": faces})
        for number, face in enumerate(faces):
            points = {
                f"{name}_{axis}": value
                for name, point in face["landmarks"].items()
                for axis, value in point.items()
            }
            self._faces.add(
                {
                    "key": outcome.photo.key,
                    "face": number,
                    "confidence": face["confidence"],
                    **face["box"],
                    **points,
                    "photo_width": size["width"],
                    "photo_height": size["height"],
                }
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)


class _Table:
    """A file that is written group by group, so that no more than one group's rows are in memory."""

    def __init__(self, storage: Storage, name: str, schema: pa.Schema) -> None:
        self._storage = storage
        self._name = name
        self._schema = schema
        self._rows: list[dict[str, Any]] = []

    @contextmanager
    def open(self) -> Iterator[None]:
        with (
            self._storage.writer(self._name) as file,
            pq.ParquetWriter(file, self._schema, compression="zstd") as self._writer,
        ):
            yield
            self._pack()

    def add(self, row: dict[str, Any]) -> None:
        self._rows.append(row)
        if len(self._rows) >= _ROWS_PER_GROUP:
            self._pack()

    def _pack(self) -> None:
        if not self._rows:
            return
        self._writer.write_table(pa.Table.from_pylist(self._rows, self._schema))
        self._rows.clear()
