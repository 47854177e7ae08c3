"""The beginning of another source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from featherface_batch.records import Photo
from featherface_batch.sources.source import Source

__all__ = ["LimitedSource"]


@dataclass(frozen=True, slots=True)
class LimitedSource:
    """The first photos of a source: a run to try, before one over all of it.

    Parameters
    ----------
    source : Source
        Not listed any further than needed.
    limit : int
        Photos at most.
    """

    source: Source
    limit: int

    @property
    def name(self) -> str:
        """The whole source's name."""
        return self.source.name

    def partitions(self) -> list[str]:
        """Return one partition: where the first photos end, only a listing in order knows."""
        return [""]

    def photos(self, partition: str) -> Iterator[Photo]:
        """Yield the first photos in the order of the source."""
        return self.in_order()

    def in_order(self) -> Iterator[Photo]:
        """Yield the first photos in the order of the source."""
        return islice(self.source.in_order(), self.limit)
