"""The outcomes of a run into its output formats: section by section, by as many tasks as there are CPUs."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from featherface_batch.errors import WorkerError
from featherface_batch.ledger import Ledger
from featherface_batch.naming import digests, find_clashes
from featherface_batch.plan import PART_PHOTOS, Plan, read_part
from featherface_batch.reasons import reason_of
from featherface_batch.sections import Section, cut, make_sections
from featherface_batch.sinks import finish, needs_names, write_section
from featherface_batch.statistics import Statistics

__all__ = ["is_written_here", "write_all"]


def is_written_here(plan: Plan, section_photos: int = PART_PHOTOS) -> bool:
    """Tell whether `write_all` would write a plan by itself, without tasks of Ray's.

    Parameters
    ----------
    plan : Plan
    section_photos : int
        As `write_all` takes it.
    """
    return len(cut(plan, section_photos)) == 1


def write_all(
    plan: Plan, ledger: Ledger, formats: Sequence[str], section_photos: int = PART_PHOTOS
) -> Statistics:
    """Write all outcomes in all formats; what it writes does not depend on how many tasks there are.

    Parameters
    ----------
    plan : Plan
    ledger : Ledger
    formats : sequence of str
        Of `featherface_batch.sinks.FORMATS`.
    section_photos : int
        Photos that one task writes, about.

    Returns
    -------
    Statistics
        Of the whole run.

    Raises
    ------
    ReconciliationError
        A photo has no outcome, or a shard's file is not what its name says.
    WorkerError
        A task failed, in a run of more than one section.
    """
    storage = ledger.storage
    sections = make_sections(plan, ledger.tallies(), section_photos)
    if needs_names(formats):
        found = _each(sections, lambda section: _digests(section, ledger))
        sections = [
            replace(section, names=names)
            for section, names in zip(sections, find_clashes(found), strict=True)
        ]
    statistics = Statistics()
    for part in _each(
        sections, lambda section: write_section(ledger.outcomes(section.parts), formats, storage, section)
    ):
        statistics.merge(part)
    finish(formats, storage, len(sections))
    return statistics


def _digests(section: Section, ledger: Ledger) -> Any:
    return digests(
        photo.key
        for part in section.parts
        for shard in read_part(part.name, ledger.storage)
        for photo in shard.photos
    )


def _each(sections: Sequence[Section], work: Callable[[Section], Any]) -> list[Any]:
    """Return what a function makes of each section, in order."""
    if len(sections) == 1:
        # A task of its own would take longer to start than most runs of one section to write.
        return [work(sections[0])]
    import ray
    from ray import data

    def run(row: dict[str, Any]) -> dict[str, Any]:
        section = pickle.loads(row["section"])
        return {"number": section.number, "answer": pickle.dumps(work(section))}

    rows = [{"section": pickle.dumps(section)} for section in sections]
    try:
        answers = data.from_items(rows, override_num_blocks=len(rows)).map(run, num_cpus=1).take_all()
    except ray.exceptions.RayError as error:
        raise WorkerError(
            f"writing the results failed: {reason_of(error)}. Run the same command again"
        ) from error
    return [pickle.loads(row["answer"]) for row in sorted(answers, key=lambda row: int(row["number"]))]
