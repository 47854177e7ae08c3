"""The API's verbs, free of HTTP."""

from __future__ import annotations

import time
from typing import Any, Final

from detect.options import DETECT_OPTIONS, RequestOptions
from detect.requests import BatchRequest, DetectRequest
from featherface import Detector, ImageError
from featherface.packages import load_manifest
from shared.analysis import Analysis, analyse
from shared.clients import client
from shared.detectors import Detectors, model_info
from shared.errors import FunctionError, StorageUnavailableError
from shared.observability import record_analysis, record_error
from shared.photos import StoredPhoto, fetch
from shared.problems import problem_of, withheld

__all__ = ["DetectService"]

# With the longest call of storage that may follow, a batch still ends before the function's time does.
_PATIENCE_SECONDS: Final = 3.0


class DetectService:
    """Answers detection requests.

    Parameters
    ----------
    detectors : Detectors
    """

    def __init__(self, detectors: Detectors) -> None:
        self._detectors = detectors

    @property
    def max_image_bytes(self) -> int:
        """The largest photo that is accepted."""
        return self._detectors.settings.max_image_bytes

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
        return self._answer(detector, request.photo, request.options)

    def detect_batch(self, request: BatchRequest, request_id: str) -> dict[str, Any]:
        """Return for each photo, in order, its ``result`` or its ``error`` as problem details.

        Storage that has kept the call waiting in vain is not asked again: of eight photos in a storage that
        hangs, none would have an answer.

        Raises
        ------
        ModelIntegrityError, ProviderError
            The model cannot serve: that is no photo's own fault.
        """
        detector = self._detectors.get(request.options.model)
        results: list[dict[str, Any]] = []
        in_vain = 0.0
        for index, photo in enumerate(request.photos):
            start = time.monotonic()
            try:
                if isinstance(photo, StoredPhoto) and in_vain > _PATIENCE_SECONDS:
                    raise StorageUnavailableError("storage did not answer for another photo of this call")
                if isinstance(photo, FunctionError):
                    raise photo
                results.append({"index": index, "result": self._answer(detector, photo, request.options)})
            except (ImageError, FunctionError) as error:
                if isinstance(error, StorageUnavailableError):
                    in_vain += time.monotonic() - start
                record_error(error.code, withheld(error))
                results.append({"index": index, "error": problem_of(error, request_id)})
        return {"results": results}

    def analyse(self, photo: bytes | StoredPhoto, options: RequestOptions) -> Analysis:
        """Return what was found in one photo, as an object; raises as `detect`."""
        return self._analyse(self._detectors.get(options.model), photo, options)[0]

    def health(self) -> dict[str, Any]:
        """Return that the function serves, and with what."""
        return {"status": "ok", "model_info": model_info(self._detectors.get().info)}

    def models(self) -> dict[str, Any]:
        """Return the models that a request may name, the default among them, and other defaults."""
        settings = self._detectors.settings
        return {
            "models": [
                {
                    "model": package.key,
                    "name": package.name,
                    "version": package.version,
                    "parameters": package.parameters,
                    "precision": settings.precision,
                    "sha256": package.files[settings.precision].sha256,
                    "default": package.key == settings.model,
                }
                for package in load_manifest().models.values()
                if settings.precision in package.files
            ],
            "defaults": {name: getattr(settings, name) for name in DETECT_OPTIONS},
        }

    def _answer(
        self, detector: Detector, photo: bytes | StoredPhoto, options: RequestOptions
    ) -> dict[str, Any]:
        analysis, stored = self._analyse(detector, photo, options)
        return analysis.to_dict(landmarks=options.landmarks, photo=stored)

    def _analyse(
        self, detector: Detector, photo: bytes | StoredPhoto, options: RequestOptions
    ) -> tuple[Analysis, StoredPhoto | None]:
        stored = None
        if isinstance(photo, StoredPhoto):
            stored, photo = fetch(client("s3"), photo, self._detectors.settings.max_image_bytes)
        analysis = analyse(detector, photo, options.detect)
        record_analysis(analysis)
        return analysis, stored
