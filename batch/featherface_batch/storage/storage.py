"""What every place that files are read from and written to has.

Files appear whole or not at all: locally by renaming a finished temporary file, in S3 because an upload
becomes visible when it is complete.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

__all__ = ["Storage"]


class Storage(Protocol):
    """Named files below one root; names are relative and use forward slashes."""

    @property
    def root(self) -> str:
        """The place, as the user would write it."""
        ...

    def read(self, name: str) -> bytes:
        """Return a file's content; FileNotFoundError if there is none."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Write or replace a file."""
        ...

    def create(self, name: str, data: bytes) -> bool:
        """Write a file unless there is one; returns whether it did. Of many at once, one does."""
        ...

    def write_many(self, files: Sequence[tuple[str, bytes]]) -> None:
        """Write or replace many small files; each appears whole, in any order."""
        ...

    def writer(self, name: str) -> Any:
        """Open a binary file for a ``with`` block; the file appears when the block ends without an error."""
        ...

    def concatenate(self, name: str, pieces: Sequence[str | bytes]) -> None:
        """Write a file that is other files (by their names) and bytes one after the other."""
        ...

    def names(self, folder: str) -> Iterator[str]:
        """Yield the names of all files below a folder ("" is the root), sorted."""
        ...

    def delete(self, name: str) -> None:
        """Delete a file; no error if there is none."""
        ...

    def delete_many(self, names: Sequence[str]) -> None:
        """Delete files; no error for those that are not there."""
        ...

    def sweep(self) -> None:
        """Remove what writers left that were killed; only when nobody writes."""
        ...

    def describe(self, name: str) -> str:
        """Return where a file lies, as the user would write it."""
        ...
