"""Traces around what takes time: S3, decoding, inference.

Importing the X-Ray SDK takes longer than importing numpy and onnxruntime, so it waits for the first request
that X-Ray samples; all others never pay for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aws_lambda_powertools import Tracer

__all__ = ["traced"]


@contextmanager
def traced(name: str) -> Iterator[None]:
    """Record a part of the work as a subsegment, if this invocation is sampled."""
    # Lambda sets the variable anew for each invocation
    if "Sampled=1" not in os.environ.get("_X_AMZN_TRACE_ID", ""):
        yield
        return
    with _tracer().provider.in_subsegment(name=name):
        yield


@cache
def _tracer() -> Tracer:
    from aws_lambda_powertools import Tracer

    # patching would import every library that the SDK knows, to trace calls that are traced here
    return Tracer(service="featherface", auto_patch=False)
