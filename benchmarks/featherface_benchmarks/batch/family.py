"""A command and all the processes that it starts: stopped and let go on together, measured together."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

__all__ = ["Family", "busy_seconds"]

_LEAVE_SECONDS: Final = 30.0
_LOOK_SECONDS: Final = 0.01
# Characters of what a command said before it failed.
_TOLD: Final = 2000


class Family:
    """A running command and what it started; it runs until `stop` is called.

    Parameters
    ----------
    command : sequence of str
    log : Path
        Receives what they say.
    """

    def __init__(self, command: Sequence[str], log: Path) -> None:
        # Ray must not end processes for the memory that other programs use, and one thread means one thread.
        fixed = {"RAY_memory_monitor_refresh_ms": "0", "OMP_NUM_THREADS": "1"}
        self._command = list(command)
        self._log = log
        environment = {**os.environ, **fixed}
        with log.open("wb") as said:
            self._process = subprocess.Popen(
                self._command, env=environment, stdout=said, stderr=subprocess.STDOUT
            )
        self._root = _psutil().Process(self._process.pid)
        self._cpu: dict[int, tuple[str, float]] = {}

    @property
    def ended(self) -> bool:
        """Whether the command has come to its end.

        Raises
        ------
        RuntimeError
            It failed.
        """
        status = self._process.poll()
        if status:
            said = self._log.read_text(errors="replace")[-_TOLD:]
            raise RuntimeError(f"{self._command} failed with exit status {status}: {said}")
        return status is not None

    def stop(self) -> None:
        """Stop all processes where they are."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let them go on."""
        self._signal(signal.SIGCONT)

    def cpu_by_name(self) -> dict[str, float]:
        """Return CPU seconds up to now of all processes seen so far, by what they call themselves."""
        psutil = _psutil()
        for member in self._members():
            with suppress(psutil.Error):
                name = "main" if member.pid == self._root.pid else member.name()
                self._cpu[member.pid] = name, sum(member.cpu_times()[:2])
        by_name: dict[str, float] = defaultdict(float)
        for name, used in self._cpu.values():
            by_name[name] += used
        return by_name

    def memory_by_name(self) -> dict[str, int]:
        """Return the bytes of all processes, by what they call themselves; pages that they share count once.

        A page that others of the machine share, too, is theirs in part.
        """
        psutil = _psutil()
        by_name: dict[str, int] = defaultdict(int)
        for member in self._members():
            with suppress(psutil.Error):
                name = "main" if member.pid == self._root.pid else member.name()
                by_name[name] += member.memory_full_info().pss
        return by_name

    def end(self) -> None:
        """Ask the command to leave, and end what is left of it."""
        psutil = _psutil()
        members = self._members()
        self.go_on()
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_LEAVE_SECONDS)
        for member in members:
            with suppress(psutil.Error):
                member.kill()
        self._process.wait()
        # Whoever was killed works on until the machine has a moment to end it.
        deadline = time.monotonic() + _LEAVE_SECONDS
        while any(map(_is_alive, members)) and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)

    def _signal(self, number: int) -> None:
        psutil = _psutil()
        for member in self._members():
            with suppress(psutil.Error):
                member.send_signal(number)

    def _members(self) -> list[Any]:
        try:
            return [self._root, *self._root.children(recursive=True)]
        except _psutil().Error:
            return []


def _is_alive(member: Any) -> bool:
    psutil = _psutil()
    try:
        # who is not this process's child may stay a zombie, for another to take note of
        return bool(member.is_running() and member.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def busy_seconds() -> float:
    """Return the CPU seconds that the machine's processors have been busy since it started."""
    times = _psutil().cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))


def _psutil() -> Any:
    # Ray brings psutil along.
    import ray  # noqa: F401
    import psutil  # type: ignore[import-untyped]  # isort: skip

    return psutil
