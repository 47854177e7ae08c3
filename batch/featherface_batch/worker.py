"""A worker: threads of one process that fetch, decode and search photos, each while the others do theirs.

Fetching waits for disks and networks, so many threads do it ahead; decoding and inference compute, so there
are as many threads for them as the worker has CPUs, each on an onnxruntime session of its own that itself
uses one thread. Pixels never leave the thread that made them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from featherface import Detections, Settings
from featherface_batch.crew import ByteBudget, Crew
from featherface_batch.errors import TimeoutPhotoError
from featherface_batch.fetch import fetch
from featherface_batch.finders import FaceFinder, Finders, load_detector
from featherface_batch.naming import picture_name
from featherface_batch.pictures import blurred, preview
from featherface_batch.pool import Kind
from featherface_batch.records import Outcome, Photo
from featherface_batch.s3 import S3Options
from featherface_batch.storage import Storage

__all__ = ["Worker", "WorkerConfig"]

_UNKNOWN_SIZE: Final = 2 * 1024 * 1024
_BYTES_AHEAD_PER_CPU: Final = 32 * 1024 * 1024
_WATCH_SECONDS: Final = 0.25
_FETCHERS: Final = 16
_FETCHERS_PER_CPU: Final = 4
_FETCHERS_PER_GPU_CPU: Final = 16
_DOING: Final = {"fetch": "fetching", "compute": "decoding and searching", "save": "writing the pictures of"}


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """What a worker needs to know; travels to its process.

    Parameters
    ----------
    settings : Settings
        Of the detector.
    s3 : S3Options
    cpus : int
        CPUs that are the worker's own.
    timeout : float
        Seconds that fetching a photo may take, and again that decoding and searching it may take.
    fetchers : int
        Photos that are fetched at the same time.
    load : callable
        Makes a detector in the worker's process: one for each thread that searches, or one that batches the
        photos of all threads.
    pictures : Storage, optional
        Where pictures are written, if any are.
    previews, blur : bool
        Whether to write a small picture of each photo with its faces drawn, and a copy without recognisable
        faces.
    """

    settings: Settings
    s3: S3Options
    cpus: int = 1
    timeout: float = 60.0
    fetchers: int = 16
    load: Callable[[Settings], FaceFinder] = load_detector
    pictures: Storage | None = None
    previews: bool = False
    blur: bool = False

    def on(self, kind: Kind) -> WorkerConfig:
        """Return the configuration of a worker of some kind."""
        # With 50 ms for each request, a fetcher brings 20 photos a second; a CPU searches up to twice that
        # many, a GPU as many as its CPUs can decode.
        fetchers = max(_FETCHERS, (_FETCHERS_PER_GPU_CPU if kind.gpus else _FETCHERS_PER_CPU) * kind.cpus)
        device = self.settings.device
        if device == "auto":
            # No worker may take a GPU that Ray has not given to it, or hold one and not use it.
            device = "cuda" if kind.gpus else "cpu"
        return replace(
            self,
            settings=replace(self.settings, device=device),
            s3=replace(self.s3, connections=fetchers),
            cpus=kind.cpus,
            fetchers=fetchers,
        )


class Worker:
    """Annotates shards; `annotate` may be called by several threads at once, which share its threads.

    Parameters
    ----------
    config : WorkerConfig
    """

    def __init__(self, config: WorkerConfig) -> None:
        self._config = config
        self._finders = Finders(partial(config.load, replace(config.settings, threads=1)))
        self._fetching = Crew(config.fetchers, "fetch")
        # Threads that wait for the GPU leave their CPU to those that decode.
        waiting = 2 * config.settings.batch_size if self._finders.batching else 0
        self._computing = Crew(config.cpus + waiting, "compute")
        self._budget = ByteBudget(_BYTES_AHEAD_PER_CPU * config.cpus)
        # Bounds what is fetched but not yet searched where photos are small.
        self._ahead = threading.BoundedSemaphore(2 * config.fetchers + 2 * config.cpus)
        self._turn = threading.Lock()

    def annotate(self, photos: Sequence[Photo]) -> list[Outcome]:
        """Return one outcome for each photo, in order."""
        board = _Board(photos, self._config.timeout)
        watch = threading.Thread(target=self._watch, args=(board,), daemon=True)
        watch.start()
        # One call after the other: photos of several shards side by side would end at the same time, and no
        # photo would be searched while all of them are committed.
        with self._turn:
            for index in range(len(photos)):
                self._ahead.acquire()
                board.held[index] = self._budget.acquire(photos[index].size or _UNKNOWN_SIZE)
                self._fetching.submit(partial(self._fetch, board, index))
        board.finished.wait()
        watch.join()
        return board.outcomes()

    def close(self) -> None:
        """Let the threads go."""
        self._fetching.close()
        self._computing.close()

    def _watch(self, board: _Board) -> None:
        while not board.finished.wait(_WATCH_SECONDS):
            for index, stage in board.give_up_late():
                (self._computing if stage == "compute" else self._fetching).replace()
                self._release(board, index)

    def _fetch(self, board: _Board, index: int) -> None:
        board.start(index, "fetch")
        photo = board.photos[index]
        try:
            data = fetch(
                photo,
                self._config.s3,
                max_bytes=self._config.settings.image_limits.max_bytes,
                deadline=time.monotonic() + self._config.timeout,
            )
        except Exception as error:
            self._settle(board, index, Outcome.failure(photo, error), self._fetching)
            return
        if board.start(index, "queue"):
            self._computing.submit(partial(self._compute, board, index, data))
        else:
            self._fetching.dismiss()

    def _compute(self, board: _Board, index: int, data: bytes) -> None:
        board.start(index, "compute")
        photo = board.photos[index]
        try:
            detections = self._finders.mine().detect(data)
            pictures = self._draw(photo, data, detections)
        except Exception as error:
            self._settle(board, index, Outcome.failure(photo, error), self._computing)
            return
        outcome = Outcome.success(photo, detections)
        if not pictures:
            self._settle(board, index, outcome, self._computing)
        elif board.start(index, "queue"):
            # Writing waits for disks and networks, as fetching does.
            self._fetching.submit(partial(self._save, board, index, outcome, pictures))
        else:
            self._computing.dismiss()

    def _draw(self, photo: Photo, data: bytes, detections: Detections) -> dict[str, bytes]:
        limits = self._config.settings.image_limits
        pictures = {}
        name = picture_name(photo.key)
        if self._config.previews:
            pictures[f"previews/{name}"] = preview(data, detections, limits)
        if self._config.blur:
            pictures[f"blurred/{name}"] = blurred(data, detections, limits)
        return pictures

    def _save(self, board: _Board, index: int, outcome: Outcome, pictures: dict[str, bytes]) -> None:
        board.start(index, "save")
        try:
            if self._config.pictures is not None:
                self._config.pictures.write_many(list(pictures.items()))
        except Exception as error:
            outcome = Outcome.failure(outcome.photo, error)
        self._settle(board, index, outcome, self._fetching)

    def _settle(self, board: _Board, index: int, outcome: Outcome, crew: Crew) -> None:
        if board.settle(index, outcome):
            self._release(board, index)
        else:
            # The photo was given up and this thread replaced, but it has come back.
            crew.dismiss()

    def _release(self, board: _Board, index: int) -> None:
        self._budget.release(board.held[index])
        self._ahead.release()


class _Board:
    """Where the photos of one call stand."""

    def __init__(self, photos: Sequence[Photo], timeout: float) -> None:
        self.photos = photos
        self.held: dict[int, int] = {}
        self.finished = threading.Event()
        self._timeout = timeout
        self._outcomes: dict[int, Outcome] = {}
        self._running: dict[int, tuple[str, float]] = {}
        self._lock = threading.Lock()
        if not photos:
            self.finished.set()

    def start(self, index: int, stage: str) -> bool:
        """Start a photo's clock for a stage; False if the photo was given up before."""
        with self._lock:
            if index in self._outcomes:
                return False
            self._running[index] = (stage, time.monotonic())
            return True

    def settle(self, index: int, outcome: Outcome) -> bool:
        """Record an outcome; the first one counts."""
        with self._lock:
            return self._settle(index, outcome)

    def _settle(self, index: int, outcome: Outcome) -> bool:
        if index in self._outcomes:
            return False
        self._outcomes[index] = outcome
        self._running.pop(index, None)
        if len(self._outcomes) == len(self.photos):
            self.finished.set()
        return True

    def give_up_late(self) -> list[tuple[int, str]]:
        """Record a time-out for photos whose stage takes too long; returns them with the stage that hangs."""
        now = time.monotonic()
        # Under one lock: in between, a photo could go on to a stage of the other crew.
        with self._lock:
            late = [
                (index, stage)
                for index, (stage, since) in self._running.items()
                if stage != "queue" and now - since > self._timeout
            ]
            for index, stage in late:
                photo = self.photos[index]
                doing = _DOING[stage]
                error = TimeoutPhotoError(f"{doing} {photo.location} took more than {self._timeout:g} s")
                self._settle(index, Outcome.failure(photo, error))
        return late

    def outcomes(self) -> list[Outcome]:
        with self._lock:
            return [self._outcomes[index] for index in range(len(self.photos))]
