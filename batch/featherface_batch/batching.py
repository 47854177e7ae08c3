"""Photos of many threads in batches through one GPU."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Final, Protocol

from featherface import Detections, PreparedImage, ProviderError

__all__ = ["BatchingFinder", "Network"]

_LOGGER: Final = logging.getLogger(__name__)
# A GPU that fails so many photos in a row, each by itself, is not asked again.
_FAILURES_TO_GIVE_UP: Final = 3


class Network(Protocol):
    """What batching needs of a detector."""

    def prepare(self, data: bytes) -> PreparedImage:
        """Decode and scale a photo."""
        ...

    def infer(self, prepared: list[PreparedImage]) -> list[Detections]:
        """Find the faces of photos of one bucket."""
        ...


class BatchingFinder:
    """Decodes in the threads that call it, and runs their photos through the network in batches.

    A GPU is fed by as many decoding threads as there are CPUs; a batch is what has come while the batch
    before was computed, of one size, so no photo waits for others to come.

    A GPU may fail where a CPU does not: by too little memory, which it shares, or for good. A batch that
    fails is searched photo by photo, so that none costs its neighbours, and a photo that fails by itself is
    searched by the spare network.

    Parameters
    ----------
    network : Network
    batch_size : int
        Photos of a batch at most.
    spare : callable
        Makes the network of the last resort, when it is needed first.
    """

    def __init__(self, network: Network, batch_size: int, spare: Callable[[], Network]) -> None:
        self._network = network
        self._batch_size = batch_size
        self._make_spare = spare
        self._spare: Network | None = None
        self._failures = 0
        self._waiting: deque[tuple[PreparedImage, Future[Detections]]] = deque()
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="infer", daemon=True).start()

    def detect(self, data: bytes) -> Detections:
        """Find the faces of one photo."""
        prepared = self._network.prepare(data)
        future: Future[Detections] = Future()
        with self._changed:
            self._waiting.append((prepared, future))
            self._changed.notify()
        return future.result()

    def _run(self) -> None:
        while True:
            self._answer(self._take())

    def _answer(self, batch: Sequence[tuple[PreparedImage, Future[Detections]]]) -> None:
        try:
            found = self._search([prepared for prepared, _ in batch])
        except Exception as error:
            if len(batch) == 1:
                batch[0][1].set_exception(error)
                return
            for entry in batch:
                self._answer([entry])
            return
        for (_, future), detections in zip(batch, found, strict=True):
            future.set_result(detections)

    def _search(self, photos: list[PreparedImage]) -> list[Detections]:
        if self._failures < _FAILURES_TO_GIVE_UP:
            try:
                found = self._network.infer(photos)
            except ProviderError as error:
                if len(photos) > 1:
                    raise
                self._failures += 1
                what = "from now on" if self._failures == _FAILURES_TO_GIVE_UP else "for this photo"
                _LOGGER.warning("%s; the CPU takes over %s", error, what)
            else:
                self._failures = 0
                return found
        self._spare = self._spare or self._make_spare()
        return self._spare.infer(photos)

    def _take(self) -> list[tuple[PreparedImage, Future[Detections]]]:
        """Wait for a photo and take it with those of its bucket, the oldest first."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting)
            bucket = self._waiting[0][0].bucket
            batch: list[tuple[PreparedImage, Future[Detections]]] = []
            others: list[tuple[PreparedImage, Future[Detections]]] = []
            while self._waiting and len(batch) < self._batch_size:
                entry = self._waiting.popleft()
                (batch if entry[0].bucket == bucket else others).append(entry)
            self._waiting.extendleft(reversed(others))
            return batch
