"""Sinks: the outcomes of a run in the forms that other tools read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Final, Protocol, Self, cast

from featherface_batch.errors import ReconciliationError, UsageError
from featherface_batch.records import Outcome
from featherface_batch.sections import Section
from featherface_batch.sinks.coco import CocoSink
from featherface_batch.sinks.files import FilePerPhotoSink
from featherface_batch.sinks.jsonl import ErrorsSink, JsonLinesSink
from featherface_batch.sinks.label_studio import LabelStudioSink
from featherface_batch.sinks.parquet import ParquetSink
from featherface_batch.sinks.voc import VocSink
from featherface_batch.sinks.wider import WiderSink
from featherface_batch.sinks.yolo import YoloSink
from featherface_batch.statistics import Statistics
from featherface_batch.storage import Storage

__all__ = ["FORMATS", "Sink", "finish", "needs_names", "parse_formats", "write_section"]


class Sink(Protocol):
    """Takes a section's outcomes one by one; it writes when its ``with`` block ends without an error."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def add(self, outcome: Outcome) -> None:
        """Take one outcome."""
        ...


class _SinkType(Protocol):
    def __call__(self, storage: Storage, section: Section) -> Sink: ...

    def finish(self, storage: Storage, sections: int) -> None: ...


_SINKS: Final[Mapping[str, _SinkType]] = {
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


def needs_names(formats: Sequence[str]) -> bool:
    """Whether one of the formats has a file per photo, so that photos' names can clash."""
    return any(issubclass(cast(type, _SINKS[name]), FilePerPhotoSink) for name in formats)


def write_section(
    outcomes: Iterable[Outcome], formats: Sequence[str], storage: Storage, section: Section
) -> Statistics:
    """Write a section's outcomes in all formats, and its errors, in one pass.

    Parameters
    ----------
    outcomes : iterable of Outcome
    formats : sequence of str
        Of `FORMATS`.
    storage : Storage
    section : Section

    Returns
    -------
    Statistics
        Of the section.

    Raises
    ------
    ReconciliationError
        The outcomes are not what was counted.
    """
    statistics = Statistics()
    with ExitStack() as stack:
        sinks = [stack.enter_context(sink(storage, section)) for sink in _used(formats)]
        for outcome in outcomes:
            statistics.add(outcome)
            for sink in sinks:
                sink.add(outcome)
        if statistics.tally != section.tally:
            raise ReconciliationError(
                f"section {section.number} should have {section.tally}, it has {statistics.tally}"
            )
    return statistics


def finish(formats: Sequence[str], storage: Storage, sections: int) -> None:
    """Put together what all sections have written.

    Parameters
    ----------
    formats : sequence of str
    storage : Storage
    sections : int
        How many there are.
    """
    for sink in _used(formats):
        sink.finish(storage, sections)


def _used(formats: Sequence[str]) -> list[_SinkType]:
    return [*(_SINKS[name] for name in formats), ErrorsSink]
