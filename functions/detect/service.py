"""The API's verbs, free of HTTP."""

from __future__ import annotations

from typing import Any

from detect.requests import DetectRequest
from shared.analysis import analyse
from shared.clients import client
from shared.detectors import Detectors, model_info
from shared.observability import record_analysis
from shared.photos import StoredPhoto, fetch

__all__ = ["DetectService"]


class DetectService:
    """Answers detection requests.

    Parameters
    ----------
    detectors : Detectors
    """

    def __init__(self, detectors: Detectors) -> None:
        self._detectors = detectors

    def detect(self, request: DetectRequest) -> dict[str, Any]:
        """Return the faces of one photo, what found them and how long it took.

        Raises
        ------
        ImageError
            The photo cannot be used.
        PhotoError, StorageDeniedError, StorageUnavailableError
            It cannot be read from S3.
        ModelIntegrityError, ProviderError
            The model cannot serve.
        """
        detector = self._detectors.get(request.options.model)
        stored = request.photo if isinstance(request.photo, StoredPhoto) else None
        if isinstance(request.photo, StoredPhoto):
            data = fetch(client("s3"), request.photo, self._detectors.settings.max_image_bytes)
        else:
            data = request.photo
        analysis = analyse(detector, data, request.options.detect)
        record_analysis(analysis)
        return analysis.to_dict(landmarks=request.options.landmarks, photo=stored)

    def health(self) -> dict[str, Any]:
        """Return that the function serves, and with what."""
        detector = self._detectors.get()
        return {"status": "ok", "model_info": model_info(detector.info)}
