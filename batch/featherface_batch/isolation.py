"""One photo at a time in a process of its own, for photos that may end the process that works on them."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Final

from featherface_batch.errors import TimeoutPhotoError, WorkerCrashError
from featherface_batch.records import Outcome, Photo
from featherface_batch.worker import Worker, WorkerConfig

__all__ = ["annotate_isolated"]

# A photo's own time-outs act inside of the child; this is for a child that cannot even do that.
_GRACE_SECONDS: Final = 30.0
_START_SECONDS: Final = 120.0


def annotate_isolated(photos: Sequence[Photo], config: WorkerConfig) -> list[Outcome]:
    """Return one outcome for each photo, in order; a photo that ends its process has ``worker_crash``.

    Parameters
    ----------
    photos : sequence of Photo
    config : WorkerConfig
    """
    child: _Child | None = None
    outcomes: list[Outcome] = []
    try:
        for photo in photos:
            child = child or _Child(config)
            outcome = child.annotate(photo, 2 * config.timeout + _GRACE_SECONDS)
            if outcome.code in {WorkerCrashError.code, TimeoutPhotoError.code}:
                child.close()
                child = None
            outcomes.append(outcome)
    finally:
        if child is not None:
            child.close()
    return outcomes


class _Child:
    def __init__(self, config: WorkerConfig) -> None:
        # Spawned, not forked: a forked copy of a process with threads may inherit locks that nobody will
        # open.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process: SpawnProcess = context.Process(target=_serve, args=(theirs, config), daemon=True)
        self._process.start()
        theirs.close()
        try:
            started = self._pipe.poll(_START_SECONDS) and self._pipe.recv()
        except EOFError:
            started = False
        if not started:
            self.close()
            raise RuntimeError("a worker for one photo at a time did not start; its log says why")

    def annotate(self, photo: Photo, timeout: float) -> Outcome:
        try:
            self._pipe.send(photo)
            if not self._pipe.poll(timeout):
                return Outcome.failure(
                    photo, TimeoutPhotoError(f"{photo.location} took more than {timeout:g} s")
                )
            outcome: Outcome = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join(_GRACE_SECONDS)
            how = self._process.exitcode
            return Outcome.failure(
                photo,
                WorkerCrashError(f"{photo.location} ended the process that worked on it (exit status {how})"),
            )
        return outcome

    def close(self) -> None:
        self._pipe.close()
        self._process.kill()
        self._process.join()


def _serve(pipe: Connection, config: WorkerConfig) -> None:
    worker = Worker(config)
    pipe.send(True)
    while True:
        try:
            photo = pipe.recv()
        except EOFError:
            return
        pipe.send(worker.annotate([photo])[0])
