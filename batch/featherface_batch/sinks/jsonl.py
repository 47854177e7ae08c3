"""JSON Lines: a line per photo, as the API would answer, and a line per error."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import IO, ClassVar, Self

from featherface_batch.records import Outcome, write_lines
from featherface_batch.storage import Storage

__all__ = ["ErrorsSink", "JsonLinesSink"]


class _LinesSink:
    file_name: ClassVar[str]
    failed: ClassVar[bool]

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._file: IO[bytes] = self._stack.enter_context(self._storage.writer(self.file_name))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def add(self, outcome: Outcome) -> None:
        """Write the outcome if it is of this sink's kind."""
        if outcome.failed is self.failed:
            self._file.write(write_lines([outcome.to_dict()]))


class JsonLinesSink(_LinesSink):
    """``annotations.jsonl``: ``key``, ``location``, and the members of `featherface.Detections.to_dict`."""

    file_name = "annotations.jsonl"
    failed = False


class ErrorsSink(_LinesSink):
    """``errors.jsonl``: ``key``, ``location``, and ``error`` with ``code`` and ``message``."""

    file_name = "errors.jsonl"
    failed = True
