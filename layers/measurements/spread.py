"""Figures of many rounds, as a line says them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

__all__ = ["beside", "spread"]


def spread(values: Sequence[float], digits: int = 0) -> str:
    """Return the median, and within which bounds half of the values lie."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def beside(values: Sequence[float], others: Sequence[float]) -> str:
    """Return the spread of the ratios within each round: what slows the machine for a while slows both."""
    return spread([value / other for value, other in zip(values, others, strict=True)], 2)
