"""One photo through the detector, with the times that it took."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from featherface import Detections, DetectOptions, Detector, ModelInfo
from shared.detectors import model_info
from shared.photos import StoredPhoto
from shared.tracing import traced

__all__ = ["Analysis", "analyse"]


class Analysis(NamedTuple):
    """What was found in one photo, by what, and how long it took.

    Parameters
    ----------
    detections : Detections
    model : ModelInfo
    decode_ms : float
        From bytes to the model's input.
    inference_ms : float
        The network and reading its answer.
    """

    detections: Detections
    model: ModelInfo
    decode_ms: float
    inference_ms: float

    def to_dict(self, *, landmarks: bool = True, photo: StoredPhoto | None = None) -> dict[str, Any]:
        """Return the answer that API callers and result objects get.

        Parameters
        ----------
        landmarks : bool
            Without them, faces have no member ``landmarks``.
        photo : StoredPhoto, optional
            Where the photo lies, if it came from S3.
        """
        answer = self.detections.to_dict()
        if not landmarks:
            for face in answer["faces"]:
                del face["landmarks"]
        answer["model_info"] = model_info(self.model)
        answer["timings"] = {
            "decode_ms": round(self.decode_ms, 2),
            "inference_ms": round(self.inference_ms, 2),
            "total_ms": round(self.decode_ms + self.inference_ms, 2),
        }
        if photo is not None:
            answer["photo"] = photo.to_dict()
        return answer


def analyse(detector: Detector, data: bytes, options: DetectOptions | None = None) -> Analysis:
    """Find the faces of one photo; raises as `Detector.detect`."""
    start = time.perf_counter()
    with traced("decode"):
        prepared = detector.prepare(data, options)
    decoded = time.perf_counter()
    with traced("inference"):
        detections = detector.infer([prepared], options)[0]
    done = time.perf_counter()
    return Analysis(detections, detector.info, 1e3 * (decoded - start), 1e3 * (done - decoded))
