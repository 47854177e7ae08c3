"""What every source has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from featherface_batch.records import Photo

__all__ = ["Source"]


class Source(Protocol):
    """A listing of photos, cut into partitions that can be listed apart from each other.

    All methods give the same answer in the same order each time, as long as the source does not change;
    none keeps the whole listing in memory.
    """

    @property
    def name(self) -> str:
        """The source as the user would write it; part of a run's identity."""
        ...

    def partitions(self) -> list[str]:
        """Return the names of the partitions, at least one."""
        ...

    def photos(self, partition: str) -> Iterator[Photo]:
        """Yield the photos of a partition."""
        ...

    def in_order(self) -> Iterator[Photo]:
        """Yield all photos one after the other; nothing is listed before it is asked for."""
        ...
