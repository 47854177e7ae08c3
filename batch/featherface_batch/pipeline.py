"""The Ray Data pipeline: parts of the plan -> unfinished shards -> workers -> finished shards."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from featherface_batch.errors import WorkerError
from featherface_batch.isolation import annotate_isolated
from featherface_batch.ledger import Ledger
from featherface_batch.plan import Part, Plan, Shard, plan_partition, read_part
from featherface_batch.records import Outcome, Photo, Tally
from featherface_batch.sources import Source
from featherface_batch.worker import Worker, WorkerConfig

__all__ = ["Pool", "make_plan", "run_plan"]

# Two shards at a time in one worker: while the last photos of one are searched, the first of the next are
# fetched.
_SHARDS_PER_WORKER = 2


@dataclass(frozen=True, slots=True)
class Pool:
    """How many workers, and what each of them gets.

    Parameters
    ----------
    cpus : int
        CPUs of a worker.
    gpus : float
        GPUs of a worker; fractions share one.
    least, most : int
        Bounds of the number of workers; Ray grows and shrinks the pool within them.
    """

    cpus: int
    gpus: float = 0.0
    least: int = 1
    most: int = 1


def make_plan(source: Source, ledger: Ledger) -> Plan:
    """List a source, its partitions side by side, into a plan in the run's output."""
    from ray import data

    partitions = source.partitions()
    storage = ledger.storage
    if len(partitions) == 1:
        plan = Plan(tuple(plan_partition(source, partitions[0], 0, storage)))
    else:

        def list_one(row: dict[str, Any]) -> list[dict[str, Any]]:
            found = plan_partition(source, row["partition"], row["index"], storage)
            return [{"name": part.name, "photos": part.photos, "shards": part.shards} for part in found]

        rows = [{"index": index, "partition": name} for index, name in enumerate(partitions)]
        listed = (
            data.from_items(rows, override_num_blocks=len(rows)).flat_map(list_one, num_cpus=0.5).take_all()
        )
        plan = Plan(tuple(Part(**row) for row in sorted(listed, key=lambda row: row["name"])))
    ledger.save_plan(plan)
    return plan


def run_plan(
    plan: Plan, ledger: Ledger, config: WorkerConfig, pool: Pool, *, retry_errors: bool
) -> Iterator[Tally]:
    """Annotate what is not finished; yields what each finished shard adds to the counts.

    Parameters
    ----------
    plan : Plan
    ledger : Ledger
    config : WorkerConfig
    pool : Pool
    retry_errors : bool
        Whether photos that ended as an error are tried again.

    Raises
    ------
    WorkerError
        A worker cannot start, or cannot record what it did.
    """
    import ray
    from ray import data
    from ray.data import ActorPoolStrategy

    def unfinished(row: dict[str, Any]) -> list[dict[str, Any]]:
        done = ledger.finished(row["part"], retry_errors=retry_errors)
        return [
            _to_row(shard) for shard in read_part(row["part"], ledger.storage) if shard.number not in done
        ]

    parts = [{"part": part.name} for part in plan.parts]
    shards = (
        data.from_items(parts, override_num_blocks=len(parts))
        # It reads two small files: what it takes of a CPU must not keep a worker from starting.
        .flat_map(unfinished, num_cpus=0.1)
        .repartition(target_num_rows_per_block=1)
        .map_batches(
            _ShardActor,
            fn_constructor_args=(ledger, config),
            batch_size=1,
            num_cpus=pool.cpus,
            num_gpus=pool.gpus,
            compute=ActorPoolStrategy(
                min_size=pool.least,
                max_size=pool.most,
                max_tasks_in_flight_per_actor=_SHARDS_PER_WORKER + 1,
                max_concurrent_calls_per_actor=_SHARDS_PER_WORKER,
                enable_true_multi_threading=True,
            ),
        )
    )
    try:
        for row in shards.iter_rows():
            yield Tally(int(row["photos"]), int(row["errors"]))
    except ray.exceptions.RayError as error:
        # Ray hands over the worker's whole traceback as text; its last line is the worker's own error.
        reason = str(error).strip().splitlines()[-1]
        raise WorkerError(
            f"a worker failed: {reason}. What is done is kept; Ray's logs have the rest"
        ) from error


class _ShardActor:
    """Annotates and commits shards; when its process dies, Ray starts another for the same shard."""

    def __init__(self, ledger: Ledger, config: WorkerConfig) -> None:
        self._ledger = ledger
        self._config = config
        self._worker = Worker(config)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[int]]:
        shard = _from_row({name: column[0] for name, column in batch.items()})
        before = {outcome.photo.key: outcome for outcome in self._ledger.recorded(shard.part, shard.number)}
        todo = [photo for photo in shard.photos if photo.key not in before or before[photo.key].failed]
        lost = self._ledger.lost_attempts(shard)
        attempt = self._ledger.begin_attempt(shard)
        # A worker died over this shard before. One of its photos may be the reason, so each gets a process
        # that it may end.
        annotated = annotate_isolated(todo, self._config) if lost else self._worker.annotate(todo)
        after = {**before, **{outcome.photo.key: outcome for outcome in annotated}}
        tally = self._ledger.commit(shard, [after[photo.key] for photo in shard.photos])
        for name in (*lost, attempt):
            self._ledger.end_attempt(name)
        added = tally - _tally(list(before.values()))
        return {"photos": [added.photos], "errors": [added.errors]}


def _tally(outcomes: Sequence[Outcome]) -> Tally:
    return Tally(len(outcomes), sum(outcome.failed for outcome in outcomes))


def _to_row(shard: Shard) -> dict[str, Any]:
    return {
        "part": shard.part,
        "number": shard.number,
        "keys": [photo.key for photo in shard.photos],
        "locations": [photo.location for photo in shard.photos],
        "sizes": [math.nan if photo.size is None else float(photo.size) for photo in shard.photos],
    }


def _from_row(row: dict[str, Any]) -> Shard:
    photos = tuple(
        Photo(str(key), str(location), None if math.isnan(size) else int(size))
        for key, location, size in zip(row["keys"], row["locations"], row["sizes"], strict=True)
    )
    return Shard(str(row["part"]), int(row["number"]), photos)
