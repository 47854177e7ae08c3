"""Planning: a source's partitions are listed into the plan, by this process or side by side by tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import chain, islice
from typing import Any, Final

from featherface_batch.ledger import Ledger
from featherface_batch.plan import Part, Plan, plan_photos
from featherface_batch.sources import Source
from featherface_batch.storage import Storage

__all__ = ["make_plan"]

# Tasks that list want processes of their own, which take longer to start than this takes to be listed.
_PARTITIONS_LISTED_HERE: Final = 16
_PHOTOS_LISTED_HERE: Final = 4096


def make_plan(source: Source, ledger: Ledger) -> Plan:
    """List a source into a plan in the run's output.

    Parameters
    ----------
    source : Source
        If it has one partition, or hardly any photos in a few, it is listed here, else by Ray's tasks.
    ledger : Ledger

    Raises
    ------
    SourceError
        The source cannot be listed.
    """
    partitions = source.partitions()
    parts = _list_here(source, partitions, ledger.storage)
    if len(parts) < len(partitions):
        parts.append(_list_by_tasks(source, partitions, len(parts), ledger.storage))
    plan = Plan(tuple(chain.from_iterable(parts)))
    ledger.save_plan(plan)
    return plan


def _list_here(source: Source, partitions: Sequence[str], storage: Storage) -> list[list[Part]]:
    """Return the parts of the first partitions, as many of them as take no time."""
    if len(partitions) == 1:
        return [plan_photos(source.photos(partitions[0]), 0, storage)]
    parts: list[list[Part]] = []
    if len(partitions) > _PARTITIONS_LISTED_HERE:
        return parts
    left = _PHOTOS_LISTED_HERE
    for index, partition in enumerate(partitions):
        photos = list(islice(source.photos(partition), left + 1))
        if len(photos) > left:
            break
        left -= len(photos)
        parts.append(plan_photos(photos, index, storage))
    return parts


def _list_by_tasks(source: Source, partitions: Sequence[str], first: int, storage: Storage) -> list[Part]:
    """Return the parts of the partitions from the `first` on."""
    from ray import data

    def list_one(row: dict[str, Any]) -> list[dict[str, Any]]:
        found = plan_photos(source.photos(row["partition"]), row["index"], storage)
        return [asdict(part) for part in found]

    rows = [{"index": index, "partition": name} for index, name in enumerate(partitions)][first:]
    listed = data.from_items(rows, override_num_blocks=len(rows)).flat_map(list_one, num_cpus=0.5).take_all()
    return [Part(**row) for row in sorted(listed, key=lambda row: row["name"])]
