"""Metrics in CloudWatch's embedded metric format: one line on standard output for each invocation.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

from __future__ import annotations

import json
import time
from typing import Any, Final, Literal

__all__ = ["Metrics", "Unit"]

Unit = Literal["Count", "Milliseconds", "Megabytes", "None"]

# The format takes no more values of one metric on a line.
_MAX_VALUES: Final = 100


class Metrics:
    """Collects what one invocation has to tell.

    Parameters
    ----------
    namespace : str
    service : str
        The dimension that every metric has.
    """

    def __init__(self, namespace: str, service: str) -> None:
        self._namespace = namespace
        self._service = service
        self._units: dict[str, Unit] = {}
        self._values: dict[str, list[float]] = {}
        self._model: dict[str, str] = {}
        self._properties: dict[str, str] = {}

    def add(self, name: str, value: float, unit: Unit = "Count") -> None:
        """Record a value; of one name any number of values may come."""
        values = self._values.setdefault(name, [])
        if len(values) == _MAX_VALUES:
            self._write()
            values = self._values.setdefault(name, [])
        self._units[name] = unit
        values.append(value)

    def set_model(self, model: str, version: str) -> None:
        """Say which model the line's metrics are of: they can then be told apart by it."""
        self._model = {"model": model, "model_version": version}

    def say(self, name: str, text: str) -> None:
        """Add a text to the line that is no metric."""
        self._properties[name] = text

    def flush(self) -> None:
        """Write the line, if there is anything to tell, and forget all that this invocation was about."""
        self._write()
        self._model, self._properties = {}, {}

    def _write(self) -> None:
        if self._values:
            print(json.dumps(self._document()), flush=True)
        self._units, self._values = {}, {}

    def _document(self) -> dict[str, Any]:
        dimensions = [["service"], *([["service", *self._model]] if self._model else [])]
        directive = {
            "Namespace": self._namespace,
            "Dimensions": dimensions,
            "Metrics": [{"Name": name, "Unit": unit} for name, unit in self._units.items()],
        }
        return {
            "_aws": {"Timestamp": int(1e3 * time.time()), "CloudWatchMetrics": [directive]},
            "service": self._service,
            **self._model,
            **self._properties,
            **self._values,
        }
