"""A request to end, as containers, batch systems and ``ray job stop`` make it, taken like Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

__all__ = ["Terminated", "interrupted_by_sigterm", "undisturbed"]


class Terminated(KeyboardInterrupt):
    """SIGTERM came."""


@contextmanager
def interrupted_by_sigterm() -> Iterator[None]:
    """Raise `Terminated` in the block when SIGTERM comes, so that it ends as on Ctrl-C.

    By default the process would end at once, and leave its progress and its lease as they are.
    """
    before = signal.getsignal(signal.SIGTERM)
    try:
        if _may_handle():
            signal.signal(signal.SIGTERM, _terminate)
        yield
    finally:
        # a handler that was not Python's is unknown here
        if _may_handle() and before is not None:
            signal.signal(signal.SIGTERM, before)


@contextmanager
def undisturbed() -> Iterator[Callable[[Callable[[], object]], object]]:
    """Give the block a thread for what must not end halfway: SIGTERM and Ctrl-C wait until it has ended.

    Ray, interrupted while it starts, may abort the process; and on the main thread it takes SIGTERM for
    itself, and ends with a status of its own. Python handles signals on the main thread alone, so what runs
    on another is not disturbed, and takes none.

    Yields
    ------
    callable
        Calls a function on the thread, and waits. What is called next waits for what was interrupted. The
        thread lives as long as the block: Linux ends the processes that Ray has started with the thread that
        started them.
    """
    with ThreadPoolExecutor(1, "undisturbed") as thread:
        yield lambda function: thread.submit(function).result()


def _may_handle() -> bool:
    return threading.current_thread() is threading.main_thread()


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    # What is under way now is cleaning up: who is in a hurry still has SIGKILL. Not SIG_IGN, which processes
    # that are just being started would inherit.
    signal.signal(signal.SIGTERM, lambda _signal, _frame: None)
    raise Terminated
