"""Logs and metrics, the same for every function. Neither ever holds image bytes, faces or photo keys.

Logs are the standard library's: the runtime writes them as JSON lines with the invocation's id (the template
asks for that form), and every ``extra`` becomes a member. Metrics are of time and memory, and
counts for rates and alarms; ``docs/lambda.md`` lists them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import wraps
from resource import RUSAGE_SELF, getrusage
from typing import Any, Final, TypeVar

from shared.analysis import Analysis
from shared.metrics import Metrics

__all__ = [
    "LOGGER",
    "METRICS",
    "observed",
    "record_analysis",
    "record_error",
    "record_init_failure",
    "record_work",
]

LOGGER: Final = logging.getLogger("featherface.functions")
LOGGER.setLevel(logging.INFO)
METRICS: Final = Metrics("FeatherFace", "featherface")

_T = TypeVar("_T")
_Handler = Callable[[dict[str, Any], Any], _T]


class _Correlation(logging.Filter):
    """Gives every record of an invocation the id by which the caller knows it."""

    def __init__(self) -> None:
        super().__init__()
        self.id: str | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        record.correlation_id = self.id
        return True


_CORRELATION: Final = _Correlation()
LOGGER.addFilter(_CORRELATION)


def observed(handler: _Handler[_T]) -> _Handler[_T]:
    """Give invocations their correlation id, their line of metrics, and the first its cold start."""
    cold = True

    @wraps(handler)
    def invoke(event: dict[str, Any], context: Any) -> _T:
        nonlocal cold
        # the gateway's id, which its access log and the caller have; of a queue, Lambda's own
        request: Mapping[str, Any] = event.get("requestContext") or {}
        _CORRELATION.id = request.get("requestId") or context.aws_request_id
        METRICS.say("function_name", context.function_name)
        METRICS.say("correlation_id", str(_CORRELATION.id))
        if cold:
            METRICS.add("cold_start", 1)
            cold = False
        try:
            return handler(event, context)
        finally:
            METRICS.flush()

    return invoke


def record_work(name: str, count: int = 1) -> None:
    """Count what came in: ``requests`` or ``messages``, the denominator of every rate."""
    METRICS.add(name, count)


def record_analysis(analysis: Analysis) -> None:
    """Count a photo that was analysed, and what it took."""
    memory = _peak_memory_mb()
    METRICS.set_model(analysis.model.model, analysis.model.version)
    METRICS.add("photos", 1)
    METRICS.add("faces", len(analysis.detections.faces))
    METRICS.add("decode_time_ms", analysis.decode_ms, "Milliseconds")
    METRICS.add("inference_time_ms", analysis.inference_ms, "Milliseconds")
    METRICS.add("memory_used_mb", memory, "Megabytes")
    METRICS.add("efficiency_score", efficiency_score(analysis.inference_ms, memory), "None")
    METRICS.add("parameter_count", analysis.model.parameters)


def record_error(code: str, reason: str | None = None) -> None:
    """Count a photo or a request that ended with a coded error.

    Parameters
    ----------
    code : str
    reason : str, optional
        What the caller is not told, and the operator finds nowhere else. It names no photo.
    """
    METRICS.add("coded_errors", 1)
    told = {} if reason is None else {"reason": reason}
    LOGGER.warning("ended with a coded error", extra={"error_code": code, **told})


def record_init_failure(code: str, message: str) -> None:
    """Tell the alarm that this function cannot serve; the caller then lets init fail."""
    LOGGER.critical("the function cannot start", extra={"error_code": code, "reason": message})
    METRICS.add("model_validation_failed", 1)
    METRICS.say("error_code", code)
    METRICS.flush()


def efficiency_score(inference_ms: float, memory_mb: float) -> float:
    """Return photos per gigabyte-second: how many the memory and the time of inference are worth.

    A gigabyte-second is what Lambda bills by.

    Parameters
    ----------
    inference_ms, memory_mb : float
        Milliseconds of inference, and the process's peak of memory in MB.
    """
    return 1.0 / (inference_ms / 1e3 * memory_mb / 1e3)


def _peak_memory_mb() -> float:
    # ru_maxrss is in KiB on Linux, which is what Lambda runs
    return getrusage(RUSAGE_SELF).ru_maxrss * 1024 / 1e6
