"""What is made once, at init: importing this module proves the model and makes its session."""

from __future__ import annotations

from typing import Final

from detect.service import DetectService
from shared.startup import start_detectors

__all__ = ["SERVICE"]

SERVICE: Final = DetectService(start_detectors())
