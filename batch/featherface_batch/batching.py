"""Photos of many threads in batches through one GPU."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from typing import Protocol

from featherface import Detections, PreparedImage

__all__ = ["BatchingFinder", "Network"]


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

    Parameters
    ----------
    network : Network
    batch_size : int
        Photos of a batch at most.
    """

    def __init__(self, network: Network, batch_size: int) -> None:
        self._network = network
        self._batch_size = batch_size
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
            batch = self._take()
            try:
                found = self._network.infer([prepared for prepared, _ in batch])
            except Exception as error:
                for _, future in batch:
                    future.set_exception(error)
                continue
            for (_, future), detections in zip(batch, found, strict=True):
                future.set_result(detections)

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
