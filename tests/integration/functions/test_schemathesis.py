"""The API's own description, turned into requests by schemathesis: every answer is one that it describes."""

from __future__ import annotations

import importlib
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from examples.serve.gateway import serving
from template_tables import template_table

from detect.requests import BINARY_TYPES

ROOT = Path(__file__).parents[3]
COMMAND = ROOT / ".tools/fuzz/bin/schemathesis"
CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance"),
    *("response_schema_conformance", "negative_data_rejection", "missing_required_header"),
    "unsupported_method",
)


class Cluster:
    """Where the jobs of this test go."""

    def submit(self, job_id: str, command: object) -> str:
        return job_id

    def find(self, job_id: str) -> str | None:
        return job_id

    def state(self, backend_id: str) -> str:
        return "running"

    def stop(self, backend_id: str) -> None:
        """Do nothing."""


@pytest.fixture(scope="module")
def url(
    detect_handler: Callable[..., dict[str, Any]],
    function_environment: None,
    environ: Mapping[str, str],
    aws: Callable[[str], Any],
) -> Iterator[str]:
    """Both HTTP functions behind one gateway."""
    aws("dynamodb").create_table(TableName="jobs-of-the-fuzzing", **template_table("JobsTable"))
    records = importlib.import_module("jobs.records")
    service = importlib.import_module("jobs.service").JobService(
        Cluster,
        records.JobRecords(aws("dynamodb"), "jobs-of-the-fuzzing"),
        aws("s3"),
        environ["PHOTOS_BUCKET"],
        environ["RESULTS_BUCKET"],
    )
    jobs = importlib.import_module("shared.http").front_door(
        importlib.import_module("jobs.routes").routes(service)
    )

    def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
        answer: dict[str, Any] = (jobs if event["path"].startswith("/v1/jobs") else detect_handler)(
            event, context
        )
        return answer

    with serving(handler, BINARY_TYPES) as url:
        yield url


def test_whatever_the_description_allows_gets_a_described_answer(url: str, tmp_path: Path) -> None:
    if not COMMAND.is_file():
        pytest.skip("make tools creates the environment that this needs")
    # too many photos are data that the schema forbids, and have a status of their own
    (tmp_path / "schemathesis.toml").write_text(
        "[checks]\nnegative_data_rejection.expected-statuses = [400, 404, 413, 415, 422]\n"
        # of several photos one that the schema forbids costs itself alone: its place in a good answer says so
        '[[operations]]\ninclude-name = "POST /v1/detect/batch"\n'
        "checks.negative_data_rejection.expected-statuses = [200, 400, 404, 413, 415, 422]\n"
    )
    done = subprocess.run(
        [
            *(str(COMMAND), "run", str(ROOT / "openapi.json"), "--url", url, "--checks", ",".join(CHECKS)),
            *("--phases", "examples,coverage,fuzzing", "--max-examples", "10", "--seed", "4"),
            # its media type is none that the tool can write; test_fuzz.py sends Rekognition's requests
            *("--exclude-path", "/"),
            *("--generation-database", "none", "--no-color", "--continue-on-failure"),
        ],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
