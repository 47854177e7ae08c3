"""Single files that many tasks write: a piece of each section, put together in the sections' order."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import IO, ClassVar, Self

from featherface_batch.sections import Section
from featherface_batch.storage import Storage

__all__ = ["PiecesSink"]


class PiecesSink:
    """Writes a section's pieces of one file.

    Parameters
    ----------
    storage : Storage
    section : Section
    """

    file_name: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]] = ("",)
    """What the file consists of, one after the other; a section has a piece of each."""

    def __init__(self, storage: Storage, section: Section) -> None:
        self._storage = storage
        self._section = section
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._pieces: list[IO[bytes]] = [
                stack.enter_context(self._storage.writer(self._piece(kind, self._section.number)))
                for kind in self.kinds
            ]
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    @classmethod
    def frame(cls) -> tuple[bytes, ...]:
        """Return what stands before the first kind, between the kinds, and behind the last one."""
        return (b"",) * (len(cls.kinds) + 1)

    @classmethod
    def finish(cls, storage: Storage, sections: int) -> None:
        """Put the file together and remove its pieces."""
        head, *joints = cls.frame()
        content: list[str | bytes] = [head]
        for kind, joint in zip(cls.kinds, joints, strict=True):
            content += [cls._piece(kind, number) for number in range(sections)]
            content.append(joint)
        storage.concatenate(cls.file_name, content)
        storage.delete_many([piece for piece in content if isinstance(piece, str)])

    @classmethod
    def _piece(cls, kind: str, number: int) -> str:
        return f"_work/pieces/{cls.file_name.replace('.', '-')}{kind and '-'}{kind}/{number:05d}"
