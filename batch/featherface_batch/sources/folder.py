"""A folder of this machine as a source."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from featherface_batch.errors import SourceError
from featherface_batch.local import key_of, location_of
from featherface_batch.records import Photo
from featherface_batch.sources.naming import is_hidden, looks_like_photo

__all__ = ["FolderSource"]


@dataclass(frozen=True, slots=True)
class FolderSource:
    """All photos below a folder, sorted within each folder; what is hidden by a dot before its name is not.

    Links to files are followed, links to folders are not: they may form a circle. A photo whose name is not
    UTF-8 has its bytes percent-encoded in its key, and a ``file://`` URI as its location.

    Parameters
    ----------
    folder : Path
    """

    folder: Path

    @property
    def name(self) -> str:
        """The folder's path."""
        return str(self.folder)

    def partitions(self) -> list[str]:
        """Return one partition: a local disk lists faster than a second lister starts."""
        return [""]

    def photos(self, partition: str) -> Iterator[Photo]:
        """Yield the photos below the folder."""
        yield from self._walk(self.folder / partition)

    def in_order(self) -> Iterator[Photo]:
        """Yield all photos below the folder."""
        return self.photos("")

    def _walk(self, folder: Path) -> Iterator[Photo]:
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            raise SourceError(f"the folder {folder} cannot be listed: {error.strerror}") from error
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if not is_hidden(entry.name):
                    yield from self._walk(Path(entry.path))
            elif looks_like_photo(entry.name) and not (entry.is_symlink() and os.path.isdir(entry.path)):
                yield self._photo(entry)

    def _photo(self, entry: os.DirEntry[str]) -> Photo:
        path = Path(entry.path)
        return Photo(key_of(path.relative_to(self.folder)), location_of(path), _size(entry))


def _size(entry: os.DirEntry[str]) -> int | None:
    try:
        return entry.stat().st_size
    except OSError:
        # A dangling link: fetching it will say so, with the photo's own record.
        return None
