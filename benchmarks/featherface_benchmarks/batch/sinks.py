"""How many photos a second one writer puts into each output format."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from featherface import BoundingBox, Detections, Face, Landmarks, Point
from featherface_batch.records import Outcome, Photo, Tally
from featherface_batch.sections import Section
from featherface_batch.sinks import finish, write_section
from featherface_batch.storage import LocalStorage

__all__ = ["made_outcomes", "measure_sinks"]


def made_outcomes(count: int) -> Iterator[Outcome]:
    """Yield results of two faces each, as a run's ledger would."""
    faces = tuple(
        Face(0.9, BoundingBox(left, 20.25, 100.5, 120.75), Landmarks(*[Point(left + 30.5, 60.25)] * 5))
        for left in (10.5, 300.5)
    )
    found = Detections(1280, 960, faces).to_dict()
    for number in range(count):
        key = f"2026/{number // 1000:05d}/{number:09d}.jpg"
        yield Outcome(Photo(key, f"s3://photos/{key}"), detections=found)


def measure_sinks(formats: Sequence[str], count: int) -> float:
    """Return the photos per CPU second at which one process writes the formats, all at once."""
    outcomes = list(made_outcomes(count))
    with tempfile.TemporaryDirectory() as folder:
        storage = LocalStorage(Path(folder))
        section = Section(0, (), Tally(), Tally.of(outcomes))
        started = time.process_time()
        write_section(outcomes, formats, storage, section)
        finish(formats, storage, 1)
        return count / (time.process_time() - started)
