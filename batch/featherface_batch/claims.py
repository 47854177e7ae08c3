"""Two kinds of workers on one plan: who has which shard, and what both report as one stream."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import Any

__all__ = ["Claims", "merged"]


class Claims:
    """Gives each shard to the side that asks first; an actor, for it is asked from many processes.

    It remembers sides, not workers: the worker that takes over from one that died may have its shard.
    """

    def __init__(self) -> None:
        # A bit for each shard: a run may have a million of them.
        self._sides: defaultdict[int, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))

    def claim(self, part: str, number: int, side: int) -> bool:
        """Whether the shard is this side's, now or from before."""
        bit = 1 << number
        if any(parts[part] & bit for other, parts in self._sides.items() if other != side):
            return False
        self._sides[side][part] |= bit
        return True


def merged(
    sources: Sequence[Callable[[], Iterable[Any]]], patience: Callable[[], float | None] = lambda: None
) -> Iterator[Any]:
    """Yield what several streams yield, as it comes; an error of one ends all.

    Parameters
    ----------
    sources : sequence of callable
        Each makes a stream, which is read in a thread of its own unless it is the only one.
    patience : callable
        Is asked before each wait for several streams how many seconds without anything end them; None for no
        such end.
    """
    if len(sources) == 1:
        yield from sources[0]()
        return
    arrived: SimpleQueue[tuple[str, Any]] = SimpleQueue()
    stopped = threading.Event()

    def read(source: Callable[[], Iterable[Any]]) -> None:
        try:
            for item in source():
                if stopped.is_set():
                    return
                arrived.put(("item", item))
        except BaseException as error:
            arrived.put(("error", error))
        else:
            arrived.put(("end", None))

    for source in sources:
        threading.Thread(target=read, args=(source,), daemon=True).start()
    reading = len(sources)
    try:
        while reading:
            try:
                what, item = arrived.get(timeout=patience())
            except Empty:
                return
            if what == "error":
                raise item
            if what == "end":
                reading -= 1
            else:
                yield item
    finally:
        stopped.set()
