"""What sinks with a file per photo have in common: names, and writing many small files quickly."""

from __future__ import annotations

from types import TracebackType
from typing import Any, ClassVar, Final, Self

from featherface_batch.records import Outcome, Photo, safe_path
from featherface_batch.storage import Storage

__all__ = ["FilePerPhotoSink"]

_AT_ONCE: Final = 256


class FilePerPhotoSink:
    """Writes one small text file for each photo with a result, named as the photo with another suffix.

    Two photos of a folder may differ in nothing but their suffix; the later one's file then keeps it:
    ``a.txt`` for ``a.jpg``, ``a.png.txt`` for ``a.png``.

    Parameters
    ----------
    storage : Storage
    """

    folder: ClassVar[str]
    suffix: ClassVar[str]

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._files: list[tuple[str, bytes]] = []
        self._group = ""
        self._taken: set[str] = set()

    def __enter__(self) -> Self:
        for name, text in self.extras().items():
            self._storage.write(name, text.encode())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._flush()

    def extras(self) -> dict[str, str]:
        """Return the files that the format wants beside those of the photos."""
        return {}

    def render(self, photo: Photo, detections: dict[str, Any]) -> str:
        """Return the content of a photo's file."""
        raise NotImplementedError

    def add(self, outcome: Outcome) -> None:
        """Write a photo's file; an error has no place in these formats."""
        if outcome.detections is None:
            return
        self._files.append(
            (self._name(outcome.photo.key), self.render(outcome.photo, outcome.detections).encode())
        )
        if len(self._files) >= _AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        self._storage.write_many(self._files)
        self._files.clear()

    def _name(self, key: str) -> str:
        path = safe_path(key)
        # Listings are sorted, so photos of one stem follow each other: only theirs need to be remembered.
        group = str(path.parent / path.name.split(".")[0])
        if group != self._group:
            self._group = group
            self._taken.clear()
        name = str(path.with_suffix(self.suffix))
        if name in self._taken:
            name = f"{path}{self.suffix}"
        self._taken.add(name)
        return f"{self.folder}/{name}"
