"""Threads that survive a task that hangs, and a budget of bytes that they share."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

__all__ = ["ByteBudget", "Crew"]


class Crew:
    """A fixed number of threads that take tasks from one queue.

    A thread that hangs cannot be ended. `replace` puts a fresh one in its place, so that the others' tasks go
    on; the old one leaves when its task ever ends. The threads are daemons: they never keep a process alive.

    Parameters
    ----------
    size : int
    name : str
        Prefix of the threads' names.
    """

    def __init__(self, size: int, name: str) -> None:
        self._name = name
        self._tasks: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._surplus = 0
        self._lock = threading.Lock()
        self._size = size
        for _ in range(size):
            self._start()

    def _start(self) -> None:
        threading.Thread(target=self._work, name=self._name, daemon=True).start()

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            task()
            with self._lock:
                if self._surplus:
                    self._surplus -= 1
                    return

    def submit(self, task: Callable[[], None]) -> None:
        """Queue a task; it must not raise."""
        self._tasks.put(task)

    def replace(self) -> None:
        """Add a thread for one that hangs; one leaves for it when a task ends late."""
        self._start()

    def dismiss(self) -> None:
        """Let one thread go after its task: the one that hung has come back."""
        with self._lock:
            self._surplus += 1

    def close(self) -> None:
        """Let all threads go once the queue is empty."""
        for _ in range(self._size):
            self._tasks.put(None)


class ByteBudget:
    """Bytes that may be in memory at the same time.

    Parameters
    ----------
    total : int
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._free = total
        self._changed = threading.Condition()

    def acquire(self, size: int) -> int:
        """Wait until that many bytes are free, take them and return how many to give back.

        More than the total counts as the total: such a photo is alone.
        """
        size = min(size, self._total)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= size)
            self._free -= size
        return size

    def release(self, size: int) -> None:
        """Give bytes back."""
        with self._changed:
            self._free += size
            self._changed.notify_all()
