"""The Ray Data pipeline: parts of the plan -> unfinished shards -> workers -> finished shards."""

from __future__ import annotations

import math
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from featherface_batch.claims import Claims, merged
from featherface_batch.errors import WorkerError
from featherface_batch.heap import keep_freed_memory
from featherface_batch.isolation import annotate_isolated
from featherface_batch.ledger import Ledger
from featherface_batch.plan import PART_PHOTOS, Plan, Shard, read_part
from featherface_batch.pool import Kind
from featherface_batch.reasons import reason_of
from featherface_batch.records import Photo, Tally
from featherface_batch.work import Meter
from featherface_batch.worker import Worker, WorkerConfig

__all__ = ["run_plan"]

# Shards at a time in one worker: while one is searched, the one before it is committed and the photos of the
# one behind it are fetched.
_SHARDS_PER_WORKER = 3
# Tasks that read parts want processes of their own, which take longer to start than a few parts to be read.
_PARTS_READ_HERE = 16
_PHOTOS_READ_HERE = 4 * PART_PHOTOS
# Another worker is asked for when this part of the places in those that there are is taken. Above what a full
# pool can have (a shard more than places), there would never be a second worker; at two thirds a full pool
# doubles until it has what it may have.
_TAKEN_PLACES_TO_GROW = 2 / 3
# the class of Ray Data's threads, in 2.60
_EXECUTION = "StreamingExecutor"
_ENDING_SECONDS = 5.0
_OF_A_WORKER = ("worker", "side", "seconds", "annotated")


def run_plan(
    plan: Plan,
    ledger: Ledger,
    config: WorkerConfig,
    kinds: Sequence[Kind],
    meter: Meter,
    *,
    retry_errors: bool,
) -> Iterator[Tally]:
    """Annotate what is not finished; yields what each finished shard adds to the counts.

    Parameters
    ----------
    plan : Plan
    ledger : Ledger
    config : WorkerConfig
    kinds : sequence of Kind
        Workers: of CPUs, of GPUs, or both.
    meter : Meter
        Is told what each worker did.
    retry_errors : bool
        Whether photos that ended as an error are tried again.

    Raises
    ------
    WorkerError
        A worker cannot start, or cannot record what it did.
    """
    import ray

    before = set(threading.enumerate())
    claims = _claims() if len(kinds) > 1 else None
    left = plan.shards - ledger.finished_shards(retry_errors=retry_errors) if claims else plan.shards

    def patience() -> float | None:
        # Once every shard is done streams end by themselves, unless a kind of workers waits for a node.
        return None if left else _ENDING_SECONDS

    runs = [
        _shards(plan, ledger, config.on(kind), kind, retry_errors=retry_errors, claims=claims, back=back)
        for back, kind in enumerate(kinds)
    ]
    try:
        # Whole blocks, and none ahead: each more thread and each more step of Ray's between a shard and its
        # counts takes time from those that search, and the counts are a few bytes.
        streams = [partial(run.iter_batches, batch_size=None, prefetch_batches=0) for run in runs]
        for done in merged(streams, patience):
            for worker, side, seconds, photos in zip(*(done[name] for name in _OF_A_WORKER), strict=True):
                meter.add(str(worker), kinds[side], float(seconds), int(photos))
            yield Tally(*(int(done[name].sum()) for name in ("photos", "errors", "faces")))
            left -= int(done["ours"].sum())
    except ray.exceptions.RayError as error:
        raise WorkerError(
            f"a worker failed: {reason_of(error)}. What is done is kept; Ray's logs have the rest"
        ) from error
    finally:
        _end(set(threading.enumerate()) - before)


def _end(threads: set[threading.Thread]) -> None:
    """End the executions of Ray Data among threads.

    Nothing public does, where another thread reads: only who iterates can stop, and that one may wait for a
    worker that never starts. Left alone, an execution outlives the session and connects to any Ray it finds.
    """
    for thread in threads:
        if type(thread).__name__ == _EXECUTION and hasattr(thread, "shutdown"):
            # what has ended by an error may not end well, and that error is the one to tell
            with suppress(Exception):
                thread.shutdown(force=True)


def _claims() -> Any:
    """Start the actor that says whose a shard is: beside the driver, for other nodes may be taken away."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(Claims).options(num_cpus=0, scheduling_strategy=here).remote()


def _shards(
    plan: Plan,
    ledger: Ledger,
    config: WorkerConfig,
    kind: Kind,
    *,
    retry_errors: bool,
    claims: Any,
    back: int,
) -> Any:
    """Return the dataset of what workers of one kind do: a row per shard with its counts.

    With two kinds, one begins at the plan's end, and each shard belongs to who claims it first: they meet
    where their speeds let them.
    """
    from ray import data
    from ray.data import ActorPoolStrategy

    def unfinished(row: dict[str, Any]) -> list[dict[str, Any]]:
        done = ledger.finished(row["part"], retry_errors=retry_errors)
        shards = [
            _to_row(shard) for shard in read_part(row["part"], ledger.storage) if shard.number not in done
        ]
        return shards[::-1] if back else shards

    parts = [{"part": part.name} for part in plan.parts]
    if back:
        parts.reverse()
    if len(parts) <= _PARTS_READ_HERE and plan.photos <= _PHOTOS_READ_HERE:
        shards = [shard for part in parts for shard in unfinished(part)]
        dataset: data.Dataset = data.from_items(shards, override_num_blocks=max(1, len(shards)))
    else:
        dataset = data.from_items(parts, override_num_blocks=len(parts)).flat_map(unfinished, num_cpus=0)
    # A block for each shard: blocks are what workers are given. A repartition would do it, too, but its tasks
    # wait for a CPU, and there is none once the workers have them all.
    dataset.context.target_max_block_size = 1
    # Nobody reads how much memory a shard took, and a thread for each would ask for it.
    dataset.context.memory_usage_poll_interval_s = None
    dataset.context.autoscaling_config = replace(
        dataset.context.autoscaling_config, actor_pool_util_upscaling_threshold=_TAKEN_PLACES_TO_GROW
    )
    return dataset.map_batches(
        _ShardActor,
        fn_constructor_args=(ledger, config, claims, back),
        batch_size=1,
        num_cpus=kind.cpus,
        num_gpus=kind.gpus,
        compute=ActorPoolStrategy(
            min_size=1,
            max_size=max(1, kind.most),
            max_tasks_in_flight_per_actor=_SHARDS_PER_WORKER + 1,
            max_concurrent_calls_per_actor=_SHARDS_PER_WORKER,
            enable_true_multi_threading=True,
        ),
    )


class _ShardActor:
    """Annotates and commits shards; when its process dies, Ray starts another for the same shard."""

    def __init__(self, ledger: Ledger, config: WorkerConfig, claims: Any, side: int) -> None:
        self._started = time.monotonic()
        # Not Ray's id of the actor: whoever comes in the place of a dead process has that, too.
        self._name = uuid.uuid4().hex
        self._ledger = ledger
        self._config = config
        self._claims = claims
        self._side = side
        keep_freed_memory()
        self._worker = Worker(config)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        shard = _from_row({name: column[0] for name, column in batch.items()})
        ours = self._is_ours(shard)
        added, annotated = self._annotate(shard) if ours else (Tally(), 0)
        return {
            "photos": [added.photos],
            "errors": [added.errors],
            "faces": [added.faces],
            "ours": [ours],
            "worker": [self._name],
            "side": [self._side],
            "seconds": [time.monotonic() - self._started],
            "annotated": [annotated],
        }

    def _is_ours(self, shard: Shard) -> bool:
        import ray

        if self._claims is None:
            return True
        return bool(ray.get(self._claims.claim.remote(shard.part, shard.number, self._side)))

    def _annotate(self, shard: Shard) -> tuple[Tally, int]:
        """Return what the shard adds to the counts, and how many of its photos were annotated."""
        recorded = self._ledger.recorded(shard.part, shard.number)
        before = {outcome.photo.location: outcome for outcome in recorded}
        todo = [one for one in shard.photos if one.location not in before or before[one.location].failed]
        lost = self._ledger.lost_attempts(shard)
        attempt = self._ledger.begin_attempt(shard)
        # A worker died over this shard before. One of its photos may be the reason, so each gets a process
        # that it may end.
        annotated = annotate_isolated(todo, self._config) if lost else self._worker.annotate(todo)
        after = {**before, **{outcome.photo.location: outcome for outcome in annotated}}
        outcomes = [after[photo.location] for photo in shard.photos]
        tally = self._ledger.commit(shard, outcomes, again=bool(before))
        for name in (*lost, attempt):
            self._ledger.end_attempt(name)
        return tally - Tally.of(before.values()), len(todo)


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
