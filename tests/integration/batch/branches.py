"""A source whose partitions are as large as a test wants them."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from featherface_batch.errors import SourceError
from featherface_batch.records import Photo

GONE = -1
BUG = -2


@dataclass(frozen=True)
class Branches:
    """A partition for each number, of that many photos; notes which process listed it."""

    sizes: tuple[int, ...]
    notes: Path

    @property
    def name(self) -> str:
        return "branches"

    def partitions(self) -> list[str]:
        return [str(index) for index in range(len(self.sizes))]

    def photos(self, partition: str) -> Iterator[Photo]:
        (self.notes / f"{partition} by {os.getpid()}").touch()
        for number in range(self.sizes[int(partition)]):
            key = f"{partition}/{number}.jpg"
            yield Photo(key, f"s3://bucket/{key}", number)

    def listers(self, partition: int) -> set[int]:
        return {int(note.name.split()[-1]) for note in self.notes.glob(f"{partition} by *")}


class Broken(Branches):
    """One of its partitions cannot be listed, one ends a program that nobody foresaw."""

    def photos(self, partition: str) -> Iterator[Photo]:
        if self.sizes[int(partition)] == GONE:
            raise SourceError(f"s3://bucket/{partition} cannot be read: NoSuchKey")
        if self.sizes[int(partition)] == BUG:
            raise LookupError("nobody foresaw this")
        yield from super().photos(partition)
