"""The detectors of this process: one is validated and warm before the first request."""

from __future__ import annotations

import threading
from typing import Any

from featherface import Detector, ModelInfo, Settings

__all__ = ["Detectors", "model_info"]


class Detectors:
    """The settings' model at once, the other when a request first names it.

    Parameters
    ----------
    settings : Settings
        For all models; a request's options may narrow them.

    Raises
    ------
    ModelIntegrityError, ConfigurationError, ProviderError
        The settings' model cannot serve. At init this ends the process, so no request meets it.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        first = Detector.load(settings=settings)
        first.warm_up()
        self._loaded = {settings.model: first}

    @property
    def settings(self) -> Settings:
        """What holds unless a request says otherwise."""
        return self._settings

    def get(self, model: str | None = None) -> Detector:
        """Return a model's detector, the settings' model if none is named; raises as the constructor."""
        name = model or self._settings.model
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = Detector.load(name, settings=self._settings)
            return self._loaded[name]


def model_info(info: ModelInfo) -> dict[str, Any]:
    """Return the JSON form of what ran, as results state it."""
    return info._asdict()
