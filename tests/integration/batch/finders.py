"""Detectors that do to a worker what some photos do: they hang it or end it."""

import hashlib
import os
import time
from dataclasses import replace

from featherface import Detections, Detector, ModelHashError, Settings

KILLER = b"this photo ends its process"
SLEEPER = b"this photo takes for ever"


class TroubledFinder:
    def __init__(self, settings: Settings) -> None:
        self._detector = Detector.load(settings=settings)

    def detect(self, data: bytes) -> Detections:
        if data.endswith(KILLER):
            os._exit(9)
        if data.endswith(SLEEPER):
            time.sleep(3600)
        return self._detector.detect(data)


class RecordingFinder:
    """Takes its time and writes down which process looked at which photo."""

    def __init__(self, settings: Settings) -> None:
        self._detector = Detector.load(settings=settings)
        self._log = os.open(os.environ["FINDER_LOG"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def detect(self, data: bytes) -> Detections:
        time.sleep(0.03)
        # One write per line: lines of processes that write at the same time stay whole.
        os.write(self._log, f"{os.getpid()} {hashlib.sha256(data).hexdigest()}\n".encode())
        return self._detector.detect(data)


class KindFinder:
    """Takes its time and writes down which device it is for and how much of a GPU its process was given."""

    def __init__(self, settings: Settings) -> None:
        import ray

        # in a process for one photo at a time there is no Ray to ask
        known = ray.is_initialized()
        given = ray.get_runtime_context().get_assigned_resources().get("GPU", 0) if known else "?"
        self._line = f"{settings.device} {given}"
        # whatever it is for, it runs here
        self._detector = Detector.load(settings=replace(settings, device="cpu"))
        self._log = os.open(os.environ["FINDER_LOG"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def detect(self, data: bytes) -> Detections:
        time.sleep(0.03)
        os.write(self._log, f"{self._line} {hashlib.sha256(data).hexdigest()}\n".encode())
        return self._detector.detect(data)


class BrokenFinder:
    """A model that is not the published one, found out where it would run."""

    def __init__(self, settings: Settings) -> None:
        raise ModelHashError("the model's bytes are others than the manifest's")

    def detect(self, data: bytes) -> Detections:
        raise NotImplementedError
