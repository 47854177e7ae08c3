"""How far a run is: a bar on a terminal, lines elsewhere, and a file that others can poll."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final

from featherface import FeatherFaceError
from featherface_batch.errors import BatchError, RunInUseError, StorageError
from featherface_batch.records import Tally, counted
from featherface_batch.storage import Storage

__all__ = ["PROGRESS_NAME", "Progress"]

PROGRESS_NAME: Final = "progress.json"
_LINE_SECONDS: Final = 10.0
# Looks between two lines at whether there are new counts for the file.
_LOOKS: Final = 5
_UNFORESEEN: Final = "unforeseen"
_COLUMNS, _LINES = 80, 24
_LOGGER: Final = logging.getLogger(__name__)


class Progress:
    """Shows and writes how far a run is; use it in a ``with`` block.

    From the block's beginning the source is being listed; `running` and `writing` say what comes after. A
    thread keeps the lines and the file going: photos may take long, and so may whatever else is under way.
    What ends the block with an error stays in the file as ``failure``, for those who do not see the command's
    own words; so does a source that cannot be listed, whose correction may have the same output.

    Parameters
    ----------
    storage : Storage
        The run's output.
    held : callable
        Whether the run is still this command's: the file belongs to whoever took it over.
    every : float
        Seconds between two lines.
    """

    def __init__(
        self, storage: Storage, held: Callable[[], bool] = lambda: True, *, every: float = _LINE_SECONDS
    ) -> None:
        self._storage = storage
        self._held = held
        self._every = every
        self._state = self._doing = "listing"
        self._total: int | None = None
        self._before = self._now = self._told = Tally()
        self._started = self._since = time.time()
        self._lined = time.monotonic()
        self._took = 0.0
        self._failure: dict[str, str] | None = None
        self._bar: Any = None
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tick, name="progress", daemon=True)

    @property
    def tally(self) -> Tally:
        """All counts up to now."""
        return self._now

    def __enter__(self) -> Progress:
        self._enter("listing")
        self._thread.start()
        return self

    def doing(self, what: str) -> None:
        """Say in the lines what the run does before photos are annotated; the file goes on to say listing."""
        with self._lock:
            self._doing = what
            self._begin()

    def running(self, total: int, before: Tally) -> None:
        """Say that photos are being annotated.

        Parameters
        ----------
        total : int
            Photos of the run.
        before : Tally
            What earlier runs of the same command finished.
        """
        self._total = total
        self._before = self._now = before
        if sys.stderr.isatty():
            self._bar = _bar(total, before.photos)
        self._enter("running")

    def add(self, tally: Tally) -> None:
        """Count what a finished shard adds."""
        self._now += tally
        if self._bar is not None:
            self._bar.set_postfix(errors=self._now.errors, refresh=False)
            self._bar.update(tally.photos)

    def writing(self) -> None:
        """Say that all photos have an outcome, and the outputs are written."""
        self._enter("writing")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._failure = _failure(error)
        untold = isinstance(error, RunInUseError)
        self._enter("complete" if error is None else "stopped", tell=not untold)

    def _enter(self, state: str, *, tell: bool = True) -> None:
        with self._lock:
            if self._state == "running" and state != "running":
                self._took = time.time() - self._since
                if self._bar is not None:
                    self._bar.close()
                    self._bar = None
                else:
                    _LOGGER.info("%s", self._line())
            self._state = state
            self._doing = "writing the results" if state == "writing" else state
            self._begin()
            if tell:
                self._write()

    def _begin(self) -> None:
        self._since = time.time()
        # a line about what has just begun tells nothing, and would stand below the bar of a short run
        self._lined = time.monotonic()

    def _tick(self) -> None:
        wrote = time.monotonic()
        while not self._ended.wait(self._every / _LOOKS):
            now = time.monotonic()
            with self._lock:
                if not self._held():
                    return
                if now - self._lined >= self._every:
                    self._lined = now
                    if self._bar is None:
                        _LOGGER.info("%s", self._line())
                    else:
                        self._bar.refresh()
                if self._now != self._told or now - wrote >= self._every:
                    wrote = now
                    self._write()

    def _snapshot(self) -> dict[str, Any]:
        seconds = time.time() - self._since if self._state == "running" else self._took
        rate = (self._now.photos - self._before.photos) / seconds if seconds > 0 else 0.0
        known = self._total is not None
        left = (self._total or 0) - self._now.photos
        return {
            "state": self._state,
            "photos": self._total,
            "done": self._now.photos if known else None,
            "errors": self._now.errors if known else None,
            "photos_per_second": round(rate, 2),
            "seconds_left": round(left / rate) if rate > 0 else None,
            "started_at": _iso(self._started),
            "updated_at": _iso(time.time()),
            **({} if self._failure is None else {"failure": self._failure}),
        }

    def _line(self) -> str:
        if self._state != "running":
            return f"{self._doing}, {time.time() - self._since:.0f} s so far"
        now = self._snapshot()
        left = "unknown" if now["seconds_left"] is None else f"{now['seconds_left']} s"
        return (
            f"{now['done']} of {counted(self._total or 0, 'photo')}, {counted(self._now.errors, 'error')}, "
            f"{now['photos_per_second']} photos/s, time left {left}"
        )

    def _write(self) -> None:
        self._told = self._now
        try:
            self._storage.write(PROGRESS_NAME, json.dumps(self._snapshot(), indent=2).encode() + b"\n")
        except StorageError as error:
            # It only tells. If storage is not back by then, a result that cannot be written ends the run.
            _LOGGER.warning("the progress could not be written: %s", error)


def _failure(error: BaseException | None) -> dict[str, str] | None:
    """Return what a run ended with; None for one that is complete, or was told to stop."""
    if isinstance(error, BatchError | FeatherFaceError):
        return {"code": error.code, "message": str(error)}
    if isinstance(error, Exception):
        return {"code": _UNFORESEEN, "message": f"{type(error).__name__}; the command's log has more"}
    return None


def _bar(total: int, done: int) -> Any:
    from tqdm import tqdm

    # a terminal that does not know its size says 0 (docker -t, script), and tqdm draws nothing there
    size = os.get_terminal_size(sys.stderr.fileno())
    return tqdm(
        total=total,
        initial=done,
        unit="photo",
        desc="annotate",
        smoothing=0.1,
        ncols=size.columns or _COLUMNS,
        nrows=size.lines or _LINES,
    )


def _iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
