"""Logs and metrics, the same for every function. Neither ever holds image bytes, faces or photo keys."""

from __future__ import annotations

from resource import RUSAGE_SELF, getrusage
from typing import Final

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from shared.analysis import Analysis

__all__ = ["LOGGER", "METRICS", "record_analysis", "record_error", "record_init_failure", "record_work"]

LOGGER: Final = Logger(service="featherface")
METRICS: Final = Metrics(namespace="FeatherFace", service="featherface")


def record_work(name: str, count: int = 1) -> None:
    """Count what came in: ``Requests`` or ``Messages``, the denominator of every rate."""
    METRICS.add_metric(name, MetricUnit.Count, count)


def record_analysis(analysis: Analysis) -> None:
    """Count a photo that was analysed, and what it took."""
    METRICS.add_metric("PhotosAnalysed", MetricUnit.Count, 1)
    METRICS.add_metric("Faces", MetricUnit.Count, len(analysis.detections.faces))
    METRICS.add_metric("DecodeTime", MetricUnit.Milliseconds, analysis.decode_ms)
    METRICS.add_metric("InferenceTime", MetricUnit.Milliseconds, analysis.inference_ms)
    METRICS.add_metric("MemoryUsed", MetricUnit.Megabytes, _peak_memory_mb())
    METRICS.add_metric("EfficiencyScore", MetricUnit.Count, _efficiency(analysis))
    METRICS.add_metadata("model_version", analysis.model.version)
    METRICS.add_metadata("model_parameters", analysis.model.parameters)


def record_error(code: str) -> None:
    """Count a photo or a request that ended with a coded error."""
    METRICS.add_metric("CodedErrors", MetricUnit.Count, 1)
    LOGGER.warning("ended with a coded error", extra={"error_code": code})


def record_init_failure(code: str, message: str) -> None:
    """Tell the alarm that this function cannot serve; the caller then lets init fail."""
    LOGGER.critical("the function cannot start", extra={"error_code": code, "reason": message})
    METRICS.add_metric("ModelValidationFailed", MetricUnit.Count, 1)
    METRICS.add_metadata("error_code", code)
    METRICS.flush_metrics()


def _peak_memory_mb() -> float:
    # ru_maxrss is in KiB on Linux, which is what Lambda runs
    return getrusage(RUSAGE_SELF).ru_maxrss / 1024


def _efficiency(analysis: Analysis) -> float:
    """Return photos per second and million parameters: what the model gives for its size."""
    seconds = (analysis.decode_ms + analysis.inference_ms) / 1e3
    return 1 / seconds / (analysis.model.parameters / 1e6)
