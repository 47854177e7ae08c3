"""What a run's starts have done and what that took: counted as shards end, kept in the output.

A run may take many starts, and each may be killed. So each keeps a file of its own, ``_work/starts/ID.json``,
and the run's figures are the sums of them all.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Final

from featherface_batch.errors import StorageError
from featherface_batch.pool import Kind
from featherface_batch.records import write_json
from featherface_batch.storage import Storage

__all__ = ["Meter", "Prices", "Work"]

_STARTS: Final = "_work/starts"
_KEEP_SECONDS: Final = 10.0
_LOGGER: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prices:
    """What machines cost, for the estimate.

    Parameters
    ----------
    cpu_hour, gpu_hour : float
        Dollars.
    """

    cpu_hour: float
    gpu_hour: float


@dataclass(frozen=True, slots=True)
class Work:
    """What one start of a run did.

    Parameters
    ----------
    photos : int
        Annotated by it, those of retries included.
    seconds : float
        Of annotating.
    workers : int
        That there were, those in the place of dead ones included.
    cpus : int
    gpus : float
        Of the workers that there were at the same time, at most.
    cpu_seconds, gpu_seconds : float
        The CPUs and GPUs of each worker, for as long as it is known to have been there: from its start to the
        end of its last shard.
    dollars : float
        What these would cost.
    """

    photos: int = 0
    seconds: float = 0.0
    workers: int = 0
    cpus: int = 0
    gpus: float = 0.0
    cpu_seconds: float = 0.0
    gpu_seconds: float = 0.0
    dollars: float = 0.0


@dataclass(slots=True)
class _Seen:
    """A worker, by the clock of this process."""

    kind: Kind
    begin: float
    end: float
    seconds: float


class Meter:
    """Counts what this start does, and knows what earlier ones did.

    Parameters
    ----------
    storage : Storage
        The run's output.
    prices : Prices
    """

    def __init__(self, storage: Storage, prices: Prices) -> None:
        self._storage = storage
        self._prices = prices
        self._name = f"{_STARTS}/{uuid.uuid4().hex}.json"
        self._began = self._kept = time.monotonic()
        self._photos = 0
        self._seen: dict[str, _Seen] = {}
        self._work = Work()
        self._earlier = list(_earlier(storage))

    @property
    def prices(self) -> Prices:
        """What this start's machines cost."""
        return self._prices

    @property
    def work(self) -> Work:
        """What this start has done, as it was last kept."""
        return self._work

    @property
    def starts(self) -> list[Work]:
        """What each start did that had something to annotate, this one last."""
        return [*self._earlier, *([self._work] if self._work.seconds else [])]

    def begin(self) -> None:
        """Start the clock."""
        self._began = time.monotonic()

    def add(self, worker: str, kind: Kind, seconds: float, photos: int) -> None:
        """Count a shard.

        Parameters
        ----------
        worker : str
            Who did it.
        kind : Kind
            What that worker is.
        seconds : float
            How long ago it started.
        photos : int
            How many of the shard's photos it annotated.
        """
        now = time.monotonic()
        self._photos += photos
        seen = self._seen.setdefault(worker, _Seen(kind, now - seconds, now, seconds))
        seen.end = now
        seen.seconds = max(seen.seconds, seconds)
        if now - self._kept >= _KEEP_SECONDS:
            self.keep()

    def keep(self) -> None:
        """Write down what this start has done up to now, for the starts that come after it."""
        self._kept = time.monotonic()
        seen = self._seen.values()
        cpu_seconds = sum(one.seconds * one.kind.cpus for one in seen)
        gpu_seconds = sum(one.seconds * one.kind.gpus for one in seen)
        self._work = Work(
            photos=self._photos,
            seconds=self._kept - self._began,
            workers=len(seen),
            cpus=round(self._most(lambda kind: kind.cpus)),
            gpus=self._most(lambda kind: kind.gpus),
            cpu_seconds=cpu_seconds,
            gpu_seconds=gpu_seconds,
            dollars=(cpu_seconds * self._prices.cpu_hour + gpu_seconds * self._prices.gpu_hour) / 3600,
        )
        try:
            self._storage.write(self._name, write_json(asdict(self._work)))
        except StorageError as error:
            # It only tells. If storage stays away, a result that cannot be written ends the run.
            _LOGGER.warning("what this start has done could not be kept: %s", error)

    def _most(self, amount: Callable[[Kind], float]) -> float:
        """Return the most that workers had at the same time."""
        changes = sorted(
            change
            for one in self._seen.values()
            for change in ((one.begin, amount(one.kind)), (one.end, -amount(one.kind)))
        )
        return max(accumulate(change for _, change in changes), default=0.0)


def _earlier(storage: Storage) -> Iterator[Work]:
    for name in storage.names(_STARTS):
        yield Work(**json.loads(storage.read(name)))
