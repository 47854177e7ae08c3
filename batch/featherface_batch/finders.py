"""What searches the photos in a worker: a detector for each of its threads, or one for all."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from featherface import Detections, Detector, Settings
from featherface_batch.batching import BatchingFinder

__all__ = ["FaceFinder", "Finders", "load_detector"]


class FaceFinder(Protocol):
    """What a worker needs of a detector."""

    def detect(self, data: bytes) -> Detections:
        """Find the faces of one photo."""
        ...


def load_detector(settings: Settings) -> FaceFinder:
    """Load the settings' model; on a GPU, one that puts the photos of all threads into batches."""
    detector = Detector.load(settings=settings)
    if detector.info.provider == "cpu":
        return detector
    on_cpu = replace(settings, device="cpu")
    return BatchingFinder(detector, settings.batch_size, lambda: Detector.load(settings=on_cpu))


class Finders:
    """The detectors of a worker's threads.

    Threads that share a session share the memory that it works in, which the processors then pass to and fro.
    One that batches the photos of all threads is shared all the same.

    Parameters
    ----------
    load : callable
        Makes a detector. It is called once at the start: a model that fails makes the worker fail, not each
        of its photos.
    """

    def __init__(self, load: Callable[[], FaceFinder]) -> None:
        self._load = load
        first = load()
        self.batching = isinstance(first, BatchingFinder)
        self._shared = first if self.batching else None
        self._spare = [] if self.batching else [first]
        self._own = threading.local()

    def mine(self) -> FaceFinder:
        """Return the calling thread's detector."""
        if self._shared is not None:
            return self._shared
        if not hasattr(self._own, "finder"):
            try:
                self._own.finder = self._spare.pop()
            except IndexError:
                self._own.finder = self._load()
        found: FaceFinder = self._own.finder
        return found
