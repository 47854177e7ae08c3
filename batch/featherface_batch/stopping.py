"""A request to end, as containers, batch systems and ``ray job stop`` make it, taken like Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

__all__ = ["Terminated", "interrupted_by_sigterm", "same_sigterm"]


class Terminated(KeyboardInterrupt):
    """SIGTERM came."""


@contextmanager
def interrupted_by_sigterm() -> Iterator[None]:
    """Raise `Terminated` in the block when SIGTERM comes, so that it ends as on Ctrl-C.

    By default the process would end at once, and leave its progress and its lease as they are.
    """
    with same_sigterm():
        if _may_handle():
            signal.signal(signal.SIGTERM, _terminate)
        yield


@contextmanager
def same_sigterm() -> Iterator[None]:
    """Let SIGTERM mean after the block what it meant before.

    Ray takes the signal for itself: it ends its own processes under a driver that still works with them, and
    which then aborts.
    """
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        # a handler that was not Python's is unknown here
        if _may_handle() and before is not None:
            signal.signal(signal.SIGTERM, before)


def _may_handle() -> bool:
    return threading.current_thread() is threading.main_thread()


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    # What is under way now is cleaning up: who is in a hurry still has SIGKILL.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated
