"""Planning: a source's partitions are listed into the plan, by this process or side by side by tasks."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Sequence
from itertools import chain, islice
from typing import Any, Final

from featherface_batch.errors import BatchError, WorkerError
from featherface_batch.ledger import Ledger
from featherface_batch.plan import Part, Plan, plan_photos
from featherface_batch.reasons import reason_of
from featherface_batch.sources import Source
from featherface_batch.storage import Storage

__all__ = ["Planner"]

_LOGGER: Final = logging.getLogger(__name__)
# Tasks that list want processes of their own, which take longer to start than this takes to be listed.
_PARTITIONS_LISTED_HERE: Final = 16
_PHOTOS_LISTED_HERE: Final = 4096


class Planner:
    """Lists a source into a plan in the run's output.

    Parameters
    ----------
    source : Source
    ledger : Ledger
    """

    def __init__(self, source: Source, ledger: Ledger) -> None:
        self._source = source
        self._ledger = ledger
        self._partitions: list[str] = []
        self._parts: list[list[Part]] = []

    def list_here(self) -> Plan | None:
        """List what takes no time, or cannot be shared; None if Ray's tasks must list the rest.

        Raises
        ------
        SourceError
            The source cannot be listed.
        """
        self._partitions = self._source.partitions()
        self._parts = _list_here(self._source, self._partitions, self._ledger.storage)
        return self._saved() if len(self._parts) == len(self._partitions) else None

    def list_by_tasks(self) -> Plan:
        """List what `list_here` has left, side by side.

        Raises
        ------
        SourceError
            The source cannot be listed.
        StorageError
            The plan cannot be written.
        WorkerError
            A task failed for another reason.
        """
        storage = self._ledger.storage
        self._parts.append(_list_by_tasks(self._source, self._partitions, len(self._parts), storage))
        return self._saved()

    def _saved(self) -> Plan:
        plan = Plan(tuple(chain.from_iterable(self._parts)))
        # A source without photos may get some.
        if plan.photos:
            self._ledger.save_plan(plan)
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
    import ray
    from ray import data

    def list_one(row: dict[str, Any]) -> dict[str, Any]:
        # An error that leaves a task comes back as text: Ray's tracebacks and its own advice.
        answer: list[Part] | BatchError
        try:
            answer = plan_photos(source.photos(row["partition"]), row["index"], storage)
        except BatchError as error:
            answer = error
        except Exception as error:
            _LOGGER.exception("listing %s", row["partition"])
            answer = _failed(source, f"{type(error).__name__}: {error}")
        return {"index": row["index"], "answer": pickle.dumps(answer)}

    rows = [{"index": index, "partition": name} for index, name in enumerate(partitions)][first:]
    listed: dict[int, list[Part]] = {}
    try:
        tasks = data.from_items(rows, override_num_blocks=len(rows)).map(list_one, num_cpus=0.5)
        for row in tasks.iter_rows():
            answer = pickle.loads(row["answer"])
            if isinstance(answer, BatchError):
                raise answer
            listed[int(row["index"])] = answer
    except ray.exceptions.RayError as error:
        raise _failed(source, reason_of(error)) from error
    return list(chain.from_iterable(listed[index] for index in sorted(listed)))


def _failed(source: Source, reason: str) -> WorkerError:
    return WorkerError(f"listing {source.name} failed: {reason}. Run the same command again")
