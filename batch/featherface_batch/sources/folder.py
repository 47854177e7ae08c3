"""A folder of this machine as a source."""

from __future__ import annotations

import os
import stat
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
    UTF-8 has its bytes percent-encoded in its key, and a ``file://`` URI as its location, which is the key,
    too, where another photo has that name. The names of a folder, and of those above it, are in memory.

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
            # Names alone: a folder may hold millions of them.
            names = sorted(os.listdir(folder))
        except OSError as error:
            raise SourceError(f"the folder {folder} cannot be listed: {error.strerror}") from error
        for name in names:
            path = folder / name
            found = _stat(path, follow=False)
            if found is not None and stat.S_ISDIR(found.st_mode):
                if not is_hidden(name):
                    yield from self._walk(path)
            elif looks_like_photo(name):
                if found is not None and stat.S_ISLNK(found.st_mode):
                    found = _stat(path, follow=True)
                # A dangling link has none: fetching it will say so, with the photo's own record.
                if found is None or not stat.S_ISDIR(found.st_mode):
                    yield self._photo(path, None if found is None else found.st_size)

    def _photo(self, path: Path, size: int | None) -> Photo:
        below, location = path.relative_to(self.folder), location_of(path)
        key = key_of(below)
        if key != below.as_posix() and os.path.lexists(self.folder / key):
            # another photo is really called what stands for this one's bytes
            key = location
        return Photo(key, location, size)


def _stat(path: Path, *, follow: bool) -> os.stat_result | None:
    try:
        return path.stat(follow_symlinks=follow)
    except OSError:
        return None
