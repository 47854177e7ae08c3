"""How far a run is: a bar on a terminal, lines elsewhere, and a file that others can poll."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from types import TracebackType
from typing import Any, Final

from featherface_batch.errors import RunInUseError, StorageError
from featherface_batch.records import Tally
from featherface_batch.storage import Storage

__all__ = ["PROGRESS_NAME", "Progress"]

PROGRESS_NAME: Final = "progress.json"
_FILE_SECONDS: Final = 2.0
_LINE_SECONDS: Final = 10.0
_COLUMNS, _LINES = 80, 24
_LOGGER: Final = logging.getLogger(__name__)


class Progress:
    """Shows and writes the counts; use it in a ``with`` block.

    Parameters
    ----------
    total : int
        Photos of the run.
    before : Tally
        What earlier runs of the same command finished.
    storage : Storage
        The run's output.
    """

    def __init__(self, total: int, before: Tally, storage: Storage) -> None:
        self._total = total
        self._before = before
        self._now = before
        self._storage = storage
        self._started = time.time()
        self._wrote = self._logged = 0.0
        self._ended: float | None = None
        self._state = "running"
        self._bar: Any = None
        if sys.stderr.isatty():
            from tqdm import tqdm

            # a terminal that does not know its size says 0 (docker -t, script), and tqdm draws nothing there
            size = os.get_terminal_size(sys.stderr.fileno())
            self._bar = tqdm(
                total=total,
                initial=before.photos,
                unit="photo",
                desc="annotate",
                smoothing=0.1,
                ncols=size.columns or _COLUMNS,
                nrows=size.lines or _LINES,
            )

    @property
    def tally(self) -> Tally:
        """All counts up to now."""
        return self._now

    def __enter__(self) -> Progress:
        self._write()
        return self

    def add(self, tally: Tally) -> None:
        """Count what a finished shard adds."""
        self._now += tally
        now = time.monotonic()
        if self._bar is not None:
            self._bar.set_postfix(errors=self._now.errors, refresh=False)
            self._bar.update(tally.photos)
        elif now - self._logged >= _LINE_SECONDS:
            self._logged = now
            _LOGGER.info("%s", self._line())
        if now - self._wrote >= _FILE_SECONDS:
            self._wrote = now
            self._write()

    def writing(self) -> None:
        """Say that all photos have an outcome, and the outputs are written."""
        self._state = "writing"
        self._end_bar()
        self._write()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._state = "complete" if error is None else "stopped"
        self._end_bar()
        # the file belongs to whoever took the run over
        if not isinstance(error, RunInUseError):
            self._write()

    def _end_bar(self) -> None:
        if self._ended is None:
            self._ended = time.time()
            if self._bar is not None:
                self._bar.close()
            else:
                _LOGGER.info("%s", self._line())

    def _snapshot(self) -> dict[str, Any]:
        seconds = (self._ended or time.time()) - self._started
        rate = (self._now.photos - self._before.photos) / seconds if seconds > 0 else 0.0
        left = self._total - self._now.photos
        return {
            "state": self._state,
            "photos": self._total,
            "done": self._now.photos,
            "errors": self._now.errors,
            "photos_per_second": round(rate, 2),
            "seconds_left": round(left / rate) if rate > 0 else None,
            "started_at": _iso(self._started),
            "updated_at": _iso(time.time()),
        }

    def _line(self) -> str:
        now = self._snapshot()
        left = "unknown" if now["seconds_left"] is None else f"{now['seconds_left']} s"
        return (
            f"{now['done']} of {now['photos']} photos, {now['errors']} errors, "
            f"{now['photos_per_second']} photos/s, time left {left}"
        )

    def _write(self) -> None:
        try:
            self._storage.write(PROGRESS_NAME, json.dumps(self._snapshot(), indent=2).encode() + b"\n")
        except StorageError as error:
            # It only tells. If storage is not back by then, a result that cannot be written ends the run.
            _LOGGER.warning("the progress could not be written: %s", error)


def _iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
