"""A folder of this machine as a storage."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from featherface_batch.errors import StorageError

__all__ = ["LocalStorage"]

_PARTIAL: Final = ".partial"
_PIECE_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class LocalStorage:
    """A folder of this machine.

    Parameters
    ----------
    folder : Path
    """

    folder: Path

    @property
    def root(self) -> str:
        """The folder's path."""
        return str(self.folder)

    def read(self, name: str) -> bytes:
        """Return a file's content; FileNotFoundError if there is none."""
        path = self.folder / name
        with _translated(path, "read", FileNotFoundError):
            return path.read_bytes()

    def write(self, name: str, data: bytes) -> None:
        """Write or replace a file."""
        with self.writer(name) as file:
            file.write(data)

    def create(self, name: str, data: bytes) -> bool:
        """Write a file unless there is one; returns whether it did. Of many at once, one does."""
        with self._temporary(name) as (temporary, path):
            temporary.write_bytes(data)
            try:
                path.hardlink_to(temporary)
            except FileExistsError:
                return False
            except OSError:
                # A file system without links, such as FAT: still whole or not at all, but two may both win.
                if path.exists():
                    return False
                temporary.replace(path)
        return True

    def write_many(self, files: Sequence[tuple[str, bytes]]) -> None:
        """Write or replace many small files; each appears whole, in any order."""
        for name, data in files:
            # Not forced to the disk one by one, which would take longer than making them did.
            with self.writer(name, durable=False) as file:
                file.write(data)

    @contextmanager
    def writer(self, name: str, *, durable: bool = True) -> Iterator[IO[bytes]]:
        """Open a binary file for a ``with`` block; the file appears when the block ends without an error."""
        with self._temporary(name) as (temporary, path):
            with temporary.open("wb") as file:
                yield file
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            temporary.replace(path)

    @contextmanager
    def _temporary(self, name: str) -> Iterator[tuple[Path, Path]]:
        """Give a file's unfinished twin beside it, removed at the end, and the file's own path."""
        path = self.folder / name
        temporary = path.with_name(f".{uuid.uuid4().hex[:12]}{_PARTIAL}")
        try:
            with _translated(path.parent, "a folder"):
                path.parent.mkdir(parents=True, exist_ok=True)
            with _translated(path, "written"):
                yield temporary, path
        finally:
            # Where writing failed, removing may fail, too, and must not take the place of the reason. What is
            # left is swept.
            with suppress(OSError):
                temporary.unlink()

    def concatenate(self, name: str, pieces: Sequence[str | bytes]) -> None:
        """Write a file that is other files (by their names) and bytes one after the other."""
        with self.writer(name) as file:
            for piece in pieces:
                if isinstance(piece, bytes):
                    file.write(piece)
                else:
                    source = self.folder / piece
                    with _translated(source, "read"), source.open("rb") as opened:
                        shutil.copyfileobj(opened, file, _PIECE_BYTES)

    def names(self, folder: str) -> Iterator[str]:
        """Yield the names of all files below a folder ("" is the root), sorted."""
        start = self.folder / folder
        try:
            with _translated(start, "listed", FileNotFoundError):
                entries = sorted(os.scandir(start), key=lambda entry: entry.name)
        except FileNotFoundError:
            return
        for entry in entries:
            name = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir(follow_symlinks=False):
                yield from self.names(name)
            elif not entry.name.endswith(_PARTIAL):
                yield name

    def delete(self, name: str) -> None:
        """Delete a file; no error if there is none."""
        path = self.folder / name
        with _translated(path, "deleted"), suppress(FileNotFoundError):
            path.unlink()

    def delete_many(self, names: Sequence[str]) -> None:
        """Delete files; no error for those that are not there."""
        for name in names:
            self.delete(name)

    def sweep(self) -> None:
        """Remove what writers left that were killed; only when nobody writes."""
        with _translated(self.folder, "swept"):
            for path in self.folder.rglob(f".*{_PARTIAL}"):
                path.unlink(missing_ok=True)

    def describe(self, name: str) -> str:
        """Return where a file lies."""
        return str(self.folder / name)


@contextmanager
def _translated(path: Path, what: str, passed: type[OSError] | tuple[()] = ()) -> Iterator[None]:
    """Raise what the system says as a StorageError, except for what the caller knows how to take."""
    try:
        yield
    except passed:
        raise
    except OSError as error:
        raise StorageError(f"{path} cannot be {what}: {error.strerror or error}") from error
