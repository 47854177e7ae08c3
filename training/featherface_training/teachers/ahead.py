"""Asking teachers about the batches to come, while one is trained on."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["ahead"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(
    ask: Callable[[Item], Result],
    items: Iterable[Item],
    threads: int,
    prepare: Callable[[], object] | None = None,
) -> Iterator[tuple[Item, Result]]:
    """Call a function on items, in threads, some of them before they are asked for.

    Parameters
    ----------
    ask : callable
        Releases the interpreter's lock for most of its time, or nothing is won.
    items : iterable
        Read in the caller's thread, at most `threads` of them more than are yielded.
    threads : int
        At least 1.
    prepare : callable, optional
        Called in each thread before it asks anything.

    Yields
    ------
    tuple
        An item and its result, in the items' order.

    Raises
    ------
    Exception
        What `ask` raises, when its item's turn comes.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="teachers", initializer=prepare)
    asked: deque[tuple[Item, Future[Result]]] = deque()
    try:
        for item in items:
            asked.append((item, pool.submit(ask, item)))
            if len(asked) > threads:
                first, result = asked.popleft()
                yield first, result.result()
        while asked:
            first, result = asked.popleft()
            yield first, result.result()
    finally:
        # who stops early doesn't wait for what it will not read
        pool.shutdown(cancel_futures=True)
