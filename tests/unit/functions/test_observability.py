"""The line that CloudWatch reads, and what stands in the log."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from featherface import Detections, ModelInfo
from shared import observability
from shared.analysis import Analysis
from shared.metrics import Metrics

ROOT = Path(__file__).parents[3]
MODEL = ModelInfo("nano", "1.2.3", 344_254, "0" * 64, "cpu", "fp32")
CONTEXT = SimpleNamespace(aws_request_id="lambda-1", function_name="detect")


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"_aws"' in line]


def test_one_invocation_writes_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    @observability.observed
    def handler(event: dict[str, Any], context: Any) -> str:
        for inference_ms in (20.0, 40.0):
            observability.record_analysis(Analysis(Detections(8, 8), MODEL, 3.0, inference_ms))
        return "done"

    assert handler({"requestContext": {"requestId": "gateway-1"}}, CONTEXT) == "done"
    assert handler({}, CONTEXT) == "done"
    first, second = lines(capsys)
    assert first["correlation_id"] == "gateway-1"
    assert second["correlation_id"] == "lambda-1"
    assert first["cold_start"] == [1]
    assert "cold_start" not in second
    assert first["inference_time_ms"] == [20.0, 40.0]
    assert first["parameter_count"] == [344_254, 344_254]
    score = 1 / (0.020 * first["memory_used_mb"][0] / 1000)
    assert first["efficiency_score"][0] == pytest.approx(score)
    (directive,) = first["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "FeatherFace"
    assert directive["Dimensions"] == [["service"], ["service", "model", "model_version"]]
    assert (first["service"], first["model"], first["model_version"]) == ("featherface", "nano", "1.2.3")
    for metric in directive["Metrics"]:
        assert all(isinstance(value, int | float) for value in first[metric["Name"]])


def test_an_error_does_not_lose_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    @observability.observed
    def handler(event: dict[str, Any], context: Any) -> None:
        observability.record_work("messages", 3)
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - which one does not matter
        handler({}, CONTEXT)
    (line,) = lines(capsys)
    assert line["messages"] == [3]
    assert line["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["service"]]


def test_more_values_than_a_line_takes_go_on_the_next(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = Metrics("N", "s")
    for number in range(101):
        metrics.add("photos", number)
    metrics.flush()
    metrics.flush()
    assert [len(line["photos"]) for line in lines(capsys)] == [100, 1]


def test_all_lines_of_an_invocation_tell_the_model_and_the_ids(capsys: pytest.CaptureFixture[str]) -> None:
    @observability.observed
    def handler(event: dict[str, Any], context: Any) -> None:
        for _ in range(201):
            observability.record_analysis(Analysis(Detections(8, 8), MODEL, 3.0, 20.0))

    handler({"requestContext": {"requestId": "gateway-3"}}, CONTEXT)
    found = lines(capsys)
    for name in ("photos", "faces", "inference_time_ms", "parameter_count"):
        assert [len(line[name]) for line in found if name in line] == [100, 100, 1]
    for line in found:
        (directive,) = line["_aws"]["CloudWatchMetrics"]
        assert directive["Dimensions"] == [["service"], ["service", "model", "model_version"]]
        assert (line["model"], line["model_version"]) == ("nano", "1.2.3")
        assert (line["correlation_id"], line["function_name"]) == ("gateway-3", "detect")


def test_what_one_invocation_was_about_is_not_said_of_the_next(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = Metrics("N", "s")
    metrics.set_model("nano", "1.2.3")
    metrics.flush()
    metrics.add("requests", 1)
    metrics.flush()
    (line,) = lines(capsys)
    assert "model" not in line


def test_records_name_the_invocation(caplog: pytest.LogCaptureFixture) -> None:
    @observability.observed
    def handler(event: dict[str, Any], context: Any) -> None:
        observability.record_error("invalid_request")

    with caplog.at_level(logging.INFO):
        handler({"requestContext": {"requestId": "gateway-2"}}, CONTEXT)
    (record,) = caplog.records
    assert (record.__dict__["correlation_id"], record.__dict__["error_code"]) == (
        "gateway-2",
        "invalid_request",
    )


def test_alarms_the_dashboard_and_the_docs_name_metrics_that_are_written() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "functions").rglob("*.py"))
    written = set(re.findall(r'(?:METRICS\.add|record_work)\(\s*"(\w+)"', source))
    template = (ROOT / "template.yaml").read_text(encoding="utf-8")
    named = set(re.findall(r"Namespace: FeatherFace\n\s+MetricName: (\w+)", template))
    named |= set(re.findall(r'"FeatherFace", "(\w+)"', template))
    assert named <= written
    table = (ROOT / "docs/lambda.md").read_text(encoding="utf-8").partition("## What it tells")[2]
    documented = {
        name
        for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    }
    assert documented >= written
