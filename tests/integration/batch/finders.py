"""Detectors that do to a worker what some photos do: they hang it or end it."""

import os
import time

from featherface import Detections, Detector, Settings

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
