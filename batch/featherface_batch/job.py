"""The job from end to end: source -> plan -> workers -> sinks, and the proof that no photo is lost."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from featherface import Settings, __version__
from featherface.packages import load_manifest
from featherface.validation import load_validated
from featherface_batch.cluster import choose_pool, ray_session
from featherface_batch.errors import ReconciliationError, SourceError, UsageError
from featherface_batch.ledger import Ledger
from featherface_batch.limits import ErrorLimit
from featherface_batch.pipeline import make_plan, run_plan
from featherface_batch.plan import Plan
from featherface_batch.progress import Progress
from featherface_batch.records import Outcome, Tally
from featherface_batch.s3 import S3Options
from featherface_batch.sinks import write_all
from featherface_batch.sources import Source, open_source
from featherface_batch.storage import Storage, open_storage
from featherface_batch.worker import FaceFinder, WorkerConfig, load_detector

__all__ = ["JobConfig", "JobSummary", "annotate"]

_LOGGER: Final = logging.getLogger(__name__)
_COMPARED_SETTINGS: Final = (
    "input_size",
    "fit",
    "confidence_threshold",
    "nms_threshold",
    "max_detections",
    "max_image_bytes",
    "max_image_pixels",
    "memory_limit_mb",
)


@dataclass(frozen=True, slots=True)
class JobConfig:
    """What to annotate, how, and where to.

    Parameters
    ----------
    source : str
        A folder or ``s3://bucket/prefix``.
    output : str
        An empty or new folder or prefix, or one that holds this very run.
    settings : Settings
        Of the detector.
    formats : tuple of str
        Of `featherface_batch.sinks.FORMATS`.
    s3 : S3Options
    address : str, optional
        Of a Ray cluster; an embedded Ray if omitted.
    cpus : int
        CPUs of this machine that an embedded Ray may use.
    worker_cpus : int, optional
        CPUs of one worker.
    worker_gpus : float
        GPUs of one worker.
    timeout : float
        Seconds that a photo may be fetched, and again searched.
    max_errors : ErrorLimit
    retry_errors : bool
        Whether photos that ended as an error are tried again.
    load : callable
        Makes the detector in a worker's process.
    """

    source: str
    output: str
    settings: Settings
    formats: tuple[str, ...] = ("coco", "jsonl")
    s3: S3Options = field(default_factory=S3Options)
    address: str | None = None
    cpus: int = field(default_factory=lambda: usable_cpus())
    worker_cpus: int | None = None
    worker_gpus: float = 0.0
    timeout: float = 60.0
    max_errors: ErrorLimit = field(default_factory=ErrorLimit)
    retry_errors: bool = False
    load: Callable[[Settings], FaceFinder] = load_detector


@dataclass(frozen=True, slots=True)
class JobSummary:
    """How a job ended.

    Parameters
    ----------
    output : str
    photos, errors, faces : int
        Of the whole run, earlier starts included.
    annotated : int
        Photos that this start worked on.
    seconds : float
        What this start's annotating took.
    """

    output: str
    photos: int
    errors: int
    faces: int
    annotated: int
    seconds: float


def usable_cpus() -> int:
    """Return how many CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def annotate(config: JobConfig) -> JobSummary:
    """Run a job, or go on with it.

    Parameters
    ----------
    config : JobConfig

    Returns
    -------
    JobSummary

    Raises
    ------
    BatchError
        The job cannot start, or lost more photos than it may, or does not reconcile.
    FeatherFaceError
        The model is not the published one, or a setting is wrong.
    """
    source = open_source(config.source, config.s3)
    storage = open_storage(config.output, config.s3)
    _refuse_overlap(source, storage)
    ledger = Ledger(storage)
    if ledger.open(_identity(source, config.settings)):
        _LOGGER.info("going on with the run in %s", storage.root)
    ledger.reopen()
    with ray_session(config.address, config.cpus):
        plan = ledger.plan() or make_plan(source, ledger)
        if not plan.photos:
            raise SourceError(f"{source.name} holds no photo (by name: .jpg, .png, .webp, .bmp and the like)")
        before = sum((ledger.tally(part.name) for part in plan.parts), Tally())
        started = time.monotonic()
        _work(plan, before, ledger, config)
        seconds = time.monotonic() - started
    counter = _Counter()
    write_all(ledger.outcomes(plan), config.formats, storage, [counter])
    if counter.tally.photos != plan.photos:
        raise ReconciliationError(
            f"{plan.photos} photos were planned, {counter.tally.photos} have an outcome"
        )
    summary = JobSummary(
        output=storage.root,
        photos=counter.tally.photos,
        errors=counter.tally.errors,
        faces=counter.faces,
        annotated=counter.tally.photos - before.photos,
        seconds=seconds,
    )
    ledger.succeed(asdict(summary))
    return summary


def _work(plan: Plan, before: Tally, ledger: Ledger, config: JobConfig) -> None:
    if before.photos == plan.photos and not (config.retry_errors and before.errors):
        return
    pool = choose_pool(config.address, config.cpus, config.worker_cpus, config.worker_gpus)
    worker = WorkerConfig(config.settings, config.s3, pool.cpus, config.timeout, load=config.load)
    with Progress(plan.photos, before, ledger.storage) as progress:
        if not config.retry_errors:
            config.max_errors.check(before, plan.photos)
        for tally in run_plan(plan, ledger, worker, pool, retry_errors=config.retry_errors):
            progress.add(tally)
            if not config.retry_errors or tally.errors > 0:
                config.max_errors.check(progress.tally, plan.photos)


class _Counter:
    def __init__(self) -> None:
        self.tally = Tally()
        self.faces = 0

    def add(self, outcome: Outcome) -> None:
        self.tally += Tally(1, int(outcome.failed))
        if outcome.detections is not None:
            self.faces += len(outcome.detections["faces"])


def _identity(source: Source, settings: Settings) -> dict[str, Any]:
    validated = load_validated(load_manifest(), settings.model, settings.precision)
    return {
        "featherface": __version__,
        "source": source.name,
        "model": f"{settings.model} {validated.package.version} {settings.precision}",
        "model_sha256": validated.sha256,
        **{name: getattr(settings, name) for name in _COMPARED_SETTINGS},
    }


def _refuse_overlap(source: Source, storage: Storage) -> None:
    inner, outer = f"{storage.root.rstrip('/')}/", f"{source.name.rstrip('/')}/"
    if inner.startswith(outer):
        raise UsageError(
            f"the output {storage.root} lies inside of the source {source.name}: choose another place"
        )
