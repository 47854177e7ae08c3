"""The job from end to end: source -> plan -> workers -> sinks, and the proof that no photo is lost."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Final

import onnxruntime

from featherface import Settings, __version__
from featherface.packages import load_manifest
from featherface.runtime import usable_cpus
from featherface.validation import load_validated
from featherface_batch.cluster import nodes, ray_session
from featherface_batch.errors import ReconciliationError, SourceError, UsageError
from featherface_batch.finders import FaceFinder, load_detector
from featherface_batch.lease import Lease
from featherface_batch.ledger import Ledger
from featherface_batch.limits import ErrorLimit
from featherface_batch.manifest import MANIFEST_NAME, make_manifest
from featherface_batch.overlap import refuse_overlap
from featherface_batch.pipeline import run_plan
from featherface_batch.plan import Plan
from featherface_batch.planning import Planner
from featherface_batch.pool import Limits, choose_pool, without_room
from featherface_batch.progress import Progress
from featherface_batch.records import Tally, is_text, write_json
from featherface_batch.report import Gallery, render_report
from featherface_batch.s3 import S3Options
from featherface_batch.sources import LimitedSource, Source, open_source
from featherface_batch.storage import open_storage
from featherface_batch.work import Meter, Prices
from featherface_batch.worker import WorkerConfig
from featherface_batch.writing import is_written_here, write_all
from featherface_batch.written import WrittenFormats

__all__ = ["REPORT_NAME", "JobConfig", "JobSummary", "annotate"]

REPORT_NAME: Final = "report.html"

_LOGGER: Final = logging.getLogger(__name__)
_COMPARED_SETTINGS: Final = (
    "input_size",
    "fit",
    "mirror",
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
        A folder, ``s3://bucket/prefix``, or the path or address of a manifest or of an S3 Inventory.
    output : str
        An empty or new folder or prefix, or one that holds this very run.
    settings : Settings
        Of the detector.
    formats : tuple of str
        Of `featherface_batch.sinks.FORMATS`.
    s3 : S3Options
        Of the source's listing and of the output; photos have `timeout` in the place of theirs. If they are
        anonymous, the source is read so; the output is always written with credentials.
    limit : int, optional
        Photos at most, the first of the source; all if omitted.
    address : str, optional
        Of a Ray cluster; an embedded Ray if omitted.
    cpus : int
        CPUs of this machine that an embedded Ray may use.
    workers : Limits
        Their size and number.
    timeout : float
        Seconds that a photo may be fetched, and again searched.
    max_errors : ErrorLimit
    retry_errors : bool
        Whether photos that ended as an error are tried again.
    previews, blur : bool
        Whether to write a small picture of each photo with its faces drawn, and a copy without recognisable
        faces.
    dollars_per_cpu_hour, dollars_per_gpu_hour : float
        For the estimate of the cost.
    load : callable
        Makes the detector in a worker's process.

    Raises
    ------
    UsageError
        A number is out of its range, or a place is no text.
    """

    source: str
    output: str
    settings: Settings
    formats: tuple[str, ...] = ("coco", "jsonl")
    s3: S3Options = field(default_factory=S3Options)
    limit: int | None = None
    address: str | None = None
    cpus: int = field(default_factory=usable_cpus)
    workers: Limits = field(default_factory=Limits)
    timeout: float = 60.0
    max_errors: ErrorLimit = field(default_factory=ErrorLimit)
    retry_errors: bool = False
    previews: bool = False
    blur: bool = False
    dollars_per_cpu_hour: float = 0.045
    dollars_per_gpu_hour: float = 0.6
    load: Callable[[Settings], FaceFinder] = load_detector

    def __post_init__(self) -> None:
        for option, place in (("the source", self.source), ("--output", self.output)):
            if not is_text(place):
                raise UsageError(
                    f"{option} must be a name in UTF-8; got {place!r}. Rename it, or make a link"
                )
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"--limit must be at least 1; got {self.limit}")
        if self.cpus < 1:
            raise UsageError(f"--cpus must be at least 1; got {self.cpus}")
        if not 0 < self.timeout < math.inf:
            raise UsageError(f"--timeout must be a number of seconds above 0; got {self.timeout:g}")
        for option, price in (
            ("--cpu-hour-price", self.dollars_per_cpu_hour),
            ("--gpu-hour-price", self.dollars_per_gpu_hour),
        ):
            if not 0 <= price < math.inf:
                raise UsageError(f"{option} must be a number of dollars, 0 or more; got {price:g}")

    @property
    def photo_s3(self) -> S3Options:
        """How photos are fetched: the time that one may take is no measure for a listing or a commit."""
        return replace(self.s3, timeout=self.timeout)


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
    if config.limit is not None:
        source = LimitedSource(source, config.limit)
    storage = open_storage(config.output, replace(config.s3, anonymous=False))
    refuse_overlap(source, storage)
    ledger = Ledger(storage)
    identity = _identity(source, config)
    # Before the lease, which waits for others and writes: what is refused is refused at once, and left alone.
    ledger.check(identity)
    with Lease(storage) as lease:
        known = ledger.open(identity)
        with Progress(storage, lease.held) as progress:
            if known:
                _LOGGER.info("going on with the run in %s", storage.root)
                storage.sweep()
            ledger.reopen()
            return _run(source, ledger, identity, config, progress, lease)


def _run(
    source: Source,
    ledger: Ledger,
    identity: Mapping[str, Any],
    config: JobConfig,
    progress: Progress,
    lease: Lease,
) -> JobSummary:
    storage = ledger.storage
    plan, planner = ledger.plan(), Planner(source, ledger)
    if plan is None:
        _LOGGER.info("listing %s", source.name)
        # Before Ray starts: a source that cannot be read is refused at once.
        plan = planner.list_here()
    if plan is not None and not plan.photos:
        raise _empty(source)
    before = sum(ledger.tallies().values(), Tally())
    idle = plan is not None and not _left(plan, before, config)
    with ExitStack() as session:
        # A run that only gets its formats anew, and is small enough for one process, needs no cluster for it.
        if plan is None or not (idle and is_written_here(plan)):
            progress.doing("starting Ray" if config.address is None else "connecting to Ray")
            session.enter_context(ray_session(config.address, config.cpus))
        if plan is None:
            progress.doing("listing")
            plan = planner.list_by_tasks()
        if not plan.photos:
            raise _empty(source)
        progress.running(plan.photos, before)
        meter = Meter(storage, Prices(config.dollars_per_cpu_hour, config.dollars_per_gpu_hour))
        formats = WrittenFormats(storage)
        if not idle:
            _work(plan, before, ledger, config, progress, lease, meter, formats)
        # Whatever this start did: a run that was stopped for its errors must not be complete at the next.
        config.max_errors.check(progress.tally, plan.photos)
        lease.check()
        progress.writing()
        due = formats.begin(config.formats)
        statistics = write_all(plan, ledger, due)
        formats.end(due)
        if statistics.tally.photos != plan.photos:
            raise ReconciliationError(
                f"{plan.photos} photos were planned, {statistics.tally.photos} have an outcome"
            )
        manifest = make_manifest(identity, formats.names, statistics, meter)
        gallery = Gallery(config.photo_s3, config.settings.image_limits, config.blur)
        storage.write(MANIFEST_NAME, write_json(manifest))
        storage.write(REPORT_NAME, render_report(manifest, statistics, gallery))
        ledger.succeed(statistics.to_dict())
        # A worker that a photo killed may have been writing.
        storage.sweep()
    return JobSummary(
        output=storage.root,
        photos=statistics.tally.photos,
        errors=statistics.tally.errors,
        faces=statistics.tally.faces,
        annotated=meter.work.photos,
        seconds=meter.work.seconds,
    )


def _empty(source: Source) -> SourceError:
    return SourceError(
        f"{source.name} holds no photo (by name: .jpg, .png, .webp, .bmp and the like, not hidden)"
    )


def _left(plan: Plan, before: Tally, config: JobConfig) -> bool:
    """Tell whether a photo has no outcome yet, or one that is not to stay."""
    return before.photos != plan.photos or (config.retry_errors and before.errors > 0)


def _work(
    plan: Plan,
    before: Tally,
    ledger: Ledger,
    config: JobConfig,
    progress: Progress,
    lease: Lease,
    meter: Meter,
    formats: WrittenFormats,
) -> None:
    """Annotate what is left."""
    there = nodes(config.address, config.cpus)
    kinds = choose_pool(
        there,
        config.workers,
        device=config.settings.device,
        gpu_build="CUDAExecutionProvider" in onnxruntime.get_available_providers(),
        grows=config.address is not None,
    )
    for kind in without_room(kinds, there):
        _LOGGER.warning(
            "no node of the cluster has %d CPUs and %g GPUs for a worker: waiting for one that has. "
            "If none will come, stop, and ask for smaller workers",
            kind.cpus,
            kind.gpus,
        )
    worker = WorkerConfig(
        config.settings,
        config.photo_s3,
        timeout=config.timeout,
        load=config.load,
        pictures=ledger.storage,
        previews=config.previews,
        blur=config.blur,
    )
    if not config.retry_errors:
        config.max_errors.check(before, plan.photos)
    formats.outdate()
    meter.begin()
    try:
        for tally in run_plan(plan, ledger, worker, kinds, meter, retry_errors=config.retry_errors):
            progress.add(tally)
            lease.check()
            if not config.retry_errors or tally.errors > 0:
                config.max_errors.check(progress.tally, plan.photos)
    finally:
        meter.keep()


def _identity(source: Source, config: JobConfig) -> dict[str, Any]:
    settings = config.settings
    validated = load_validated(load_manifest(), settings.model, settings.precision)
    return {
        "featherface": __version__,
        "source": source.name,
        "limit": config.limit,
        "model": f"{settings.model} {validated.package.version} {settings.precision}",
        "model_sha256": validated.sha256,
        **{name: getattr(settings, name) for name in _COMPARED_SETTINGS},
        # Pictures are made while a photo is at hand, so they cannot be added to a run later.
        "previews": config.previews,
        "blur": config.blur,
    }
