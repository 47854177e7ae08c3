"""What a command and all the processes that it starts take: time, CPU and memory."""

from __future__ import annotations

import os
import subprocess
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

__all__ = ["Measurement", "measure"]

_SAMPLE_SECONDS: Final = 0.5
# Asking the kernel for memory costs the measured processes time, most where there are many.
_SAMPLES_PER_MEMORY: Final = 4


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a run took.

    Parameters
    ----------
    seconds : float
        From start to end, start-up included.
    cpu_by_name : mapping of str to float
        CPU seconds of its processes, by what they called themselves at last.
    peak_bytes : int
        Memory of all its processes together, shared pages counted once.
    others : float
        CPUs of the machine that other processes kept busy meanwhile, the measuring one included. Anything far
        from 0 says that the time is not to be trusted.
    """

    seconds: float
    cpu_by_name: Mapping[str, float]
    peak_bytes: int
    others: float

    @property
    def cpu_seconds(self) -> float:
        """Of all its processes."""
        return sum(self.cpu_by_name.values())


def measure(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Measurement:
    """Run a command to its end and watch its family.

    Parameters
    ----------
    command : sequence of str
    environment : mapping, optional
        Variables beyond those of this process.

    Raises
    ------
    RuntimeError
        The command failed.
    """
    # Ray brings psutil along.
    import ray  # noqa: F401
    import psutil  # type: ignore[import-untyped]  # isort: skip

    # Ray must not end processes for the memory that other programs use, and one thread means one thread.
    fixed = {"RAY_memory_monitor_refresh_ms": "0", "OMP_NUM_THREADS": "1"}
    before = _busy(psutil)
    started = time.monotonic()
    process = subprocess.Popen(
        command, env={**os.environ, **fixed, **(environment or {})}, stdout=subprocess.DEVNULL
    )
    root = psutil.Process(process.pid)
    cpu: dict[int, tuple[str, float]] = {}
    peak = 0
    for sample in count():
        if process.poll() is not None:
            break
        memory = 0
        for member in _family(root, psutil):
            try:
                name = "main" if member.pid == root.pid else member.name()
                cpu[member.pid] = name, sum(member.cpu_times()[:2])
                if sample % _SAMPLES_PER_MEMORY == 0:
                    memory += member.memory_full_info().pss
            except psutil.Error:
                continue
        peak = max(peak, memory)
        time.sleep(_SAMPLE_SECONDS)
    seconds = time.monotonic() - started
    if process.returncode:
        raise RuntimeError(f"{command} failed with exit status {process.returncode}; its messages are above")
    by_name: dict[str, float] = defaultdict(float)
    for name, used in cpu.values():
        by_name[name] += used
    others = max(0.0, (_busy(psutil) - before - sum(by_name.values())) / seconds)
    return Measurement(seconds, by_name, peak, others)


def _family(root: Any, psutil: Any) -> list[Any]:
    try:
        return [root, *root.children(recursive=True)]
    except psutil.Error:
        return []


def _busy(psutil: Any) -> float:
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))
