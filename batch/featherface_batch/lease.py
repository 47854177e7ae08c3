"""One command at a time works on a run: a lease in its output, with a sign of life every few seconds.

A second start would sweep away what the first one's workers are writing. Object stores have no lock that
falls open when its holder dies, so a lease counts for as long as it changes; that a holder has died on this
very machine is known at once.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Final

from featherface_batch.errors import RunInUseError, StorageError
from featherface_batch.records import write_json
from featherface_batch.storage import Storage

__all__ = ["LEASE_NAME", "Lease"]

LEASE_NAME: Final = "_work/lease.json"

_LOGGER: Final = logging.getLogger(__name__)
_EVERY_SECONDS: Final = 10.0
# Of two signs of life and a half: one may be late, as where storage is slow.
_SILENT_SECONDS: Final = 25.0
_LOOK_SECONDS: Final = 1.0

# Holders in this process: another one by its number died before it.
_held: Final[set[str]] = set()


@dataclass(frozen=True, slots=True)
class _Sign:
    """A sign of life; each differs from the one before."""

    holder: str
    machine: str
    host: str
    pid: int
    count: int = 0

    @classmethod
    def read(cls, storage: Storage) -> _Sign | None:
        """Return the latest sign, None if there is no lease; a file that is no lease is nobody's."""
        try:
            return cls(**json.loads(storage.read(LEASE_NAME)))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            return cls("", "", "", 0)

    def write(self, storage: Storage) -> None:
        storage.write(LEASE_NAME, write_json(asdict(self)))

    def create(self, storage: Storage) -> bool:
        """Write the first sign where there is none; returns whether nobody was faster."""
        return storage.create(LEASE_NAME, write_json(asdict(self)))

    @property
    def dead(self) -> bool:
        """Whether nobody holds it: the holder ran here, and its process is gone, or there never was one."""
        if not self.holder:
            return True
        if self.machine != _machine() or os.name != "posix":
            return False
        if self.pid == os.getpid():
            return self.holder not in _held
        try:
            # not ours to signal: it lives
            with suppress(PermissionError):
                os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        return False


class Lease:
    """The right to work on a run; use it in a ``with`` block.

    Parameters
    ----------
    storage : Storage
        The run's output.
    every : float
        Seconds between signs of life.
    silent : float
        Seconds without one after which a lease is given up for lost.
    """

    def __init__(
        self, storage: Storage, *, every: float = _EVERY_SECONDS, silent: float = _SILENT_SECONDS
    ) -> None:
        self._storage = storage
        self._every = every
        self._silent = silent
        self._sign = _Sign(uuid.uuid4().hex, _machine(), socket.gethostname(), os.getpid())
        self._ended = threading.Event()
        self._taken: _Sign | None = None
        self._thread = threading.Thread(target=self._live, name="lease", daemon=True)

    def __enter__(self) -> Lease:
        """Take the lease.

        Raises
        ------
        RunInUseError
            Another command works on this run.
        """
        # Before the lease can be seen: one of this process that is not held is taken for a dead one's.
        _held.add(self._sign.holder)
        try:
            # One try is enough, unless others come and go between the look and the taking.
            while not self._take():
                pass
        except BaseException:
            _held.discard(self._sign.holder)
            raise
        self._thread.start()
        return self

    def held(self) -> bool:
        """Whether nobody has taken the run over, as far as is known."""
        return self._taken is None

    def check(self) -> None:
        """Make sure that the lease still is this command's.

        Raises
        ------
        RunInUseError
            Another command took it: both found a dead one's at the same moment, or this one gave no sign
            for long.
        """
        if self._taken is not None:
            raise RunInUseError(
                f"{_who(self._taken)} has taken over {self._storage.root}: "
                "what is done is kept, leave the rest to it"
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        _held.discard(self._sign.holder)
        if self._taken is None:
            with suppress(StorageError):
                self._storage.delete(LEASE_NAME)

    def _take(self) -> bool:
        """Write the first sign; returns whether it counts."""
        if self._watch_until_silent():
            self._sign.write(self._storage)
            return True
        return self._sign.create(self._storage)

    def _watch_until_silent(self) -> bool:
        """Wait until nobody holds the lease; returns whether one was left behind."""
        first = _Sign.read(self._storage)
        if first is None or first.dead:
            return first is not None
        _LOGGER.info(
            "%s was working on %s; watching for %g s whether it still is",
            _who(first),
            self._storage.root,
            self._silent,
        )
        end = time.monotonic() + self._silent
        while time.monotonic() < end:
            time.sleep(min(_LOOK_SECONDS, self._every))
            now = _Sign.read(self._storage)
            if now is None:
                return False
            if now != first:
                raise RunInUseError(
                    f"{_who(now)} is working on {self._storage.root}: wait until it has ended, "
                    "or stop it; the same command goes on then"
                )
        return True

    def _live(self) -> None:
        while not self._ended.wait(self._every):
            try:
                now = _Sign.read(self._storage)
                if now is not None and now.holder not in {"", self._sign.holder}:
                    self._taken = now
                    return
                self._sign = replace(self._sign, count=self._sign.count + 1)
                self._sign.write(self._storage)
            except StorageError as error:
                # Storage may be back at the next sign; if not, the run itself fails of it.
                _LOGGER.warning("no sign of life could be left: %s", error)


def _who(sign: _Sign) -> str:
    return f"another annotate (process {sign.pid} on {sign.host})"


def _machine() -> str:
    """Return what tells machines, and containers with process numbers of their own, apart."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)
