"""Sinks: the outcomes of a run in the forms that other tools read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Final, Protocol

from featherface_batch.errors import UsageError
from featherface_batch.records import Outcome
from featherface_batch.sinks.coco import CocoSink
from featherface_batch.sinks.jsonl import ErrorsSink, JsonLinesSink
from featherface_batch.sinks.label_studio import LabelStudioSink
from featherface_batch.sinks.parquet import ParquetSink
from featherface_batch.sinks.voc import VocSink
from featherface_batch.sinks.wider import WiderSink
from featherface_batch.sinks.yolo import YoloSink
from featherface_batch.storage import Storage

__all__ = ["FORMATS", "Sink", "parse_formats", "write_all"]


class Sink(Protocol):
    """Takes outcomes one by one; what it writes appears when its ``with`` block ends without an error."""

    def add(self, outcome: Outcome) -> None:
        """Take one outcome."""
        ...


_SINKS: Final[Mapping[str, Callable[[Storage], AbstractContextManager[Sink]]]] = {
    "coco": CocoSink,
    "jsonl": JsonLinesSink,
    "label-studio": LabelStudioSink,
    "parquet": ParquetSink,
    "voc": VocSink,
    "wider": WiderSink,
    "yolo": YoloSink,
}

FORMATS: Final = tuple(sorted(_SINKS))
"""Names of the formats that a run can write."""


def parse_formats(text: str) -> tuple[str, ...]:
    """Read a list of formats with commas between; UsageError for an unknown one."""
    names = tuple(dict.fromkeys(part.strip().lower() for part in text.split(",") if part.strip()))
    unknown = [name for name in names if name not in FORMATS]
    if unknown or not names:
        raise UsageError(f"--format takes {', '.join(FORMATS)}, with commas between; got {text!r}")
    return names


def write_all(
    outcomes: Iterable[Outcome], formats: Sequence[str], storage: Storage, others: Sequence[Sink] = ()
) -> None:
    """Write the outcomes in all formats, and the errors, in one pass.

    Parameters
    ----------
    outcomes : iterable of Outcome
    formats : sequence of str
        Of `FORMATS`.
    storage : Storage
    others : sequence of Sink
        Shown each outcome, too.
    """
    with ExitStack() as stack:
        sinks: list[Sink] = [stack.enter_context(_SINKS[name](storage)) for name in formats]
        sinks += [stack.enter_context(ErrorsSink(storage)), *others]
        for outcome in outcomes:
            for sink in sinks:
                sink.add(outcome)
