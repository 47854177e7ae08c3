"""The garbage collector during init."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["collector_paused"]


@contextmanager
def collector_paused() -> Iterator[None]:
    """Import and set up without collections, and never look at again what is there by then.

    Modules, classes and settings live as long as the process. Left on, the collector goes through all of them
    some dozens of times while they come to be, which is a tenth of an init.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
