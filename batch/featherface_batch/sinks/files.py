"""What sinks with a file per photo have in common: names, and writing many small files quickly."""

from __future__ import annotations

from types import TracebackType
from typing import Any, ClassVar, Final, Self

from featherface_batch.naming import PLAIN, file_name
from featherface_batch.records import Outcome, Photo
from featherface_batch.sections import Section
from featherface_batch.storage import Storage

__all__ = ["FilePerPhotoSink"]

_AT_ONCE: Final = 256


class FilePerPhotoSink:
    """Writes one small text file for each photo with a result; see `featherface_batch.naming` for its name.

    Parameters
    ----------
    storage : Storage
    section : Section
    """

    folder: ClassVar[str]
    suffix: ClassVar[str]
    extras: ClassVar[dict[str, str]] = {}
    """Files that the format wants beside those of the photos."""

    def __init__(self, storage: Storage, section: Section) -> None:
        self._storage = storage
        self._names = section.names
        self._seen = 0
        self._files: list[tuple[str, bytes]] = []

    @classmethod
    def finish(cls, storage: Storage, sections: int) -> None:
        """Write what the format has once for the whole run."""
        for name, text in cls.extras.items():
            storage.write(name, text.encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._flush()

    def render(self, photo: Photo, detections: dict[str, Any], name: str) -> str:
        """Return the content of a photo's file; `name` is the file's, below the format's folder."""
        raise NotImplementedError

    def add(self, outcome: Outcome) -> None:
        """Write a photo's file; an error has no place in these formats."""
        form = self._names.get(self._seen, PLAIN)
        self._seen += 1
        if outcome.detections is None:
            return
        name = file_name(outcome.photo.key, form, self.suffix)
        text = self.render(outcome.photo, outcome.detections, name)
        self._files.append((f"{self.folder}/{name}", text.encode()))
        if len(self._files) >= _AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        self._storage.write_many(self._files)
        self._files.clear()
