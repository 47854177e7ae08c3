"""JSON Lines: a line per photo, as the API would answer, and a line per error."""

from __future__ import annotations

from typing import ClassVar

from featherface_batch.records import Outcome, write_lines
from featherface_batch.sinks.pieces import PiecesSink

__all__ = ["ErrorsSink", "JsonLinesSink"]


class _LinesSink(PiecesSink):
    failed: ClassVar[bool]

    def add(self, outcome: Outcome) -> None:
        """Write the outcome if it is of this sink's kind."""
        if outcome.failed is self.failed:
            self._pieces[0].write(write_lines([outcome.to_dict()]))


class JsonLinesSink(_LinesSink):
    """``annotations.jsonl``: ``key``, ``location``, and the members of `featherface.Detections.to_dict`."""

    file_name = "annotations.jsonl"
    failed = False


class ErrorsSink(_LinesSink):
    """``errors.jsonl``: ``key``, ``location``, and ``error`` with ``code`` and ``message``."""

    file_name = "errors.jsonl"
    failed = True
