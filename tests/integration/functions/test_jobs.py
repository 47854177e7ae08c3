"""Jobs on AWS Batch as the emulator keeps them; what runs there is the batch package's own matter."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from gateway_events import rest_event
from refusals import refused

from jobs.backends import AwsBatch
from jobs.requests import FORMATS, JobRequest, command_line, read_job_request
from shared.errors import InvalidOptionError

ROOT = Path(__file__).parents[3]
PHOTOS, RESULTS = "photos-of-the-tests", "results-of-the-tests"
Call = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture(scope="module")
def batch(endpoint: str, deployed: None, aws: Callable[[str], Any]) -> Iterator[Any]:
    """A queue and a definition in Batch, which the emulator runs without containers."""
    config = json.dumps({"batch": {"use_docker": False}}).encode()
    urllib.request.urlopen(
        urllib.request.Request(f"{endpoint}/moto-api/config", config, method="POST")
    ).close()
    role = aws("iam").create_role(RoleName="batch-of-the-tests", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    client = aws("batch")
    client.create_compute_environment(
        computeEnvironmentName="tests", type="UNMANAGED", state="ENABLED", serviceRole=role
    )
    client.create_job_queue(
        jobQueueName="tests",
        state="ENABLED",
        priority=1,
        computeEnvironmentOrder=[{"order": 1, "computeEnvironment": "tests"}],
    )
    client.register_job_definition(
        jobDefinitionName="annotate",
        type="container",
        containerProperties={"image": "featherface", "vcpus": 1, "memory": 1024, "command": ["true"]},
    )
    from template_tables import template_table

    aws("dynamodb").create_table(TableName="jobs-of-the-tests", **template_table("JobsTable"))
    environ = {
        "BATCH_JOB_QUEUE": "tests",
        "BATCH_JOB_DEFINITION": "annotate",
        "JOBS_TABLE": "jobs-of-the-tests",
    }
    os.environ.update(environ)
    yield client
    for name in environ:
        del os.environ[name]


@pytest.fixture
def jobs(batch: Any, context: Any) -> Call:
    handler = importlib.import_module("jobs.handler").lambda_handler

    def send(method: str, path: str, *, user: str = "alice", **request: Any) -> tuple[int, dict[str, Any]]:
        event = rest_event(method, path, **request)
        event["requestContext"]["identity"]["userArn"] = f"arn:aws:iam::000000000000:user/{user}"
        answer = handler(event, context)
        return answer["statusCode"], json.loads(answer["body"] or "{}")

    return send


def test_a_job_is_started_shown_and_listed(jobs: Call, batch: Any, s3: Any) -> None:
    request = {"source": f"s3://{PHOTOS}/holiday", "formats": ["jsonl"], "options": {"model": "v1"}}
    status, made = jobs("POST", "/v1/jobs", json_body=request)
    assert status == 202
    assert made["output"] == f"s3://{RESULTS}/jobs/{made['id']}"
    (described,) = (
        job
        for job in batch.describe_jobs(jobs=[entry["jobId"] for entry in all_jobs(batch)])["jobs"]
        if made["id"] in job["jobName"]
    )
    command = described["container"]["command"]
    assert command[:3] == ["featherface", "annotate", f"s3://{PHOTOS}/holiday"]
    assert command[command.index("--model") + 1] == "v1"

    status, shown = jobs("GET", f"/v1/jobs/{made['id']}")
    assert (status, shown["state"], shown["progress"]) == (200, "succeeded", None)
    progress = {"state": "complete", "photos": 3, "done": 3, "errors": 1, "photos_per_second": 12.5}
    s3.put_object(Bucket=RESULTS, Key=f"jobs/{made['id']}/progress.json", Body=json.dumps(progress).encode())
    assert jobs("GET", f"/v1/jobs/{made['id']}")[1]["progress"] == progress

    status, listed = jobs("GET", "/v1/jobs")
    assert made["id"] in {job["id"] for job in listed["jobs"]}
    status, older = jobs("GET", "/v1/jobs", query={"after": made["id"]})
    assert status == 200
    assert made["id"] not in {job["id"] for job in older["jobs"]}
    assert jobs("GET", "/v1/jobs", query={"after": "key-"})[1]["code"] == "invalid_option"
    assert jobs("DELETE", f"/v1/jobs/{made['id']}")[0] == 204


class Terminating:
    """AWS Batch where a job that is terminated ends as the service says, which the emulator does not play."""

    def __init__(self) -> None:
        self.reason = "Essential container in task exited"

    def terminate_job(self, *, jobId: str, reason: str) -> None:
        self.reason = reason

    def describe_jobs(self, *, jobs: list[str]) -> dict[str, Any]:
        return {"jobs": [{"jobId": jobs[0], "status": "FAILED", "statusReason": self.reason}]}


def test_a_job_that_was_stopped_is_not_one_that_failed() -> None:
    backend = AwsBatch(Terminating(), "queue", "definition")
    assert backend.state("1") == "failed"
    backend.stop("1")
    assert backend.state("1") == "cancelled"


@pytest.mark.parametrize(
    ("job", "code"),
    [
        ({"container": {"reason": "OutOfMemoryError: Container killed", "exitCode": 137}}, "out_of_memory"),
        ({"container": {}, "statusReason": "Host EC2 (instance i-0123) terminated."}, "machine_lost"),
        ({"container": {}, "statusReason": "Your Spot Task was interrupted."}, "machine_lost"),
        ({"container": {"reason": "CannotPullContainerError: 0123.dkr.ecr"}}, "image"),
        ({"container": {"exitCode": 2}, "statusReason": "Essential container in task exited"}, "refused"),
        ({"container": {"exitCode": 1}, "statusReason": "Essential container in task exited"}, None),
        (None, None),
    ],
)
def test_why_a_job_failed_is_told_without_the_operator_s_names(
    job: dict[str, Any] | None, code: str | None
) -> None:
    class Failed:
        def describe_jobs(self, *, jobs: list[str]) -> dict[str, Any]:
            return {"jobs": [] if job is None else [{"jobId": jobs[0], "status": "FAILED", **job}]}

    failure = AwsBatch(Failed(), "queue", "definition").failure("1")
    assert (failure or {}).get("code") == code
    assert "0123" not in json.dumps(failure)


def test_a_right_that_the_service_itself_lacks_is_not_a_job_that_is_missing(
    jobs: Call, caplog: pytest.LogCaptureFixture
) -> None:
    with refused("dynamodb", 400, "AccessDeniedException"):
        status, answer = jobs("GET", "/v1/jobs")
    assert (status, answer["code"]) == (503, "missing_right")
    assert any("AccessDeniedException" in getattr(record, "reason", "") for record in caplog.records)


def all_jobs(batch: Any) -> list[dict[str, Any]]:
    return [
        job
        for state in ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING", "SUCCEEDED", "FAILED")
        for job in batch.list_jobs(jobQueue="tests", jobStatus=state)["jobSummaryList"]
    ]


def test_nobody_sees_another_s_jobs(jobs: Call) -> None:
    _, made = jobs("POST", "/v1/jobs", json_body={"source": f"s3://{PHOTOS}/a"})
    for method in ("GET", "DELETE"):
        status, answer = jobs(method, f"/v1/jobs/{made['id']}", user="bob")
        assert (status, answer["code"]) == (404, "job_not_found")
    assert made["id"] not in {job["id"] for job in jobs("GET", "/v1/jobs", user="bob")[1]["jobs"]}


def test_answers_are_as_described(jobs: Call) -> None:
    document = json.loads((ROOT / "openapi.json").read_text(encoding="utf-8"))
    made = jobs("POST", "/v1/jobs", json_body={"source": f"s3://{PHOTOS}/a"})[1]
    answers = {
        "JobSummary": made,
        "Job": jobs("GET", f"/v1/jobs/{made['id']}")[1],
        "JobList": jobs("GET", "/v1/jobs")[1],
    }
    for name, answer in answers.items():
        schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        jsonschema.validate(answer, schema)


SOURCE = f"s3://{PHOTOS}/a"


@pytest.mark.parametrize(
    ("members", "status", "code"),
    [
        ({}, 400, "invalid_request"),
        ({"source": "s3://other-bucket/a"}, 400, "invalid_request"),
        ({"source": f"s3://{PHOTOS}"}, 400, "invalid_request"),
        ({"source": f"s3://{PHOTOS}/"}, 400, "invalid_request"),
        ({"source": f"s3://{PHOTOS}/uploads"}, 400, "invalid_request"),
        ({"source": f"s3://{PHOTOS}/uploads/0123.csv"}, 400, "invalid_request"),
        ({"source": f"s3://{PHOTOS}//uploads/a"}, 400, "invalid_request"),
        ({"source": f"s3://{PHOTOS}/../a"}, 400, "invalid_request"),
        ({"source": "/etc"}, 400, "invalid_request"),
        ({"source": SOURCE, "output": f"s3://{PHOTOS}/a"}, 400, "invalid_request"),
        ({"source": SOURCE, "output": f"s3://{RESULTS}/results/a"}, 400, "invalid_request"),
        ({"source": SOURCE, "output": f"s3://{RESULTS}/jobs/"}, 400, "invalid_request"),
        ({"source": SOURCE, "output": f"s3://{RESULTS}/jobs//"}, 400, "invalid_request"),
        ({"source": SOURCE, "output": f"s3://{RESULTS}/jobs/a//b"}, 400, "invalid_request"),
        ({"source": SOURCE, "threads": 3}, 400, "invalid_request"),
        ({"source": SOURCE, "options": []}, 400, "invalid_request"),
        ({"source": SOURCE, "formats": ["xls"]}, 422, "invalid_option"),
        ({"source": SOURCE, "formats": [["coco"]]}, 422, "invalid_option"),
        ({"source": SOURCE, "options": {"model": "huge"}}, 422, "invalid_option"),
        ({"source": SOURCE, "options": {"model": ["v1"]}}, 422, "invalid_option"),
        ({"source": SOURCE, "options": {"precision": "fp16"}}, 422, "invalid_option"),
        ({"source": SOURCE, "options": {"input_size": 1}}, 422, "invalid_option"),
        ({"source": SOURCE, "options": {"max_errors": "many"}}, 422, "invalid_option"),
        ({"source": SOURCE, "options": {"retry_errors": 1}}, 422, "invalid_option"),
        ({"source": SOURCE, "options": {"mirror": "yes"}}, 422, "invalid_option"),
        ({"source": SOURCE, "options": {"limit": 0}}, 422, "invalid_option"),
        ({"source": SOURCE, "options": {"limit": True}}, 422, "invalid_option"),
        ({"source": SOURCE, "options": {"shell": "rm"}}, 422, "invalid_option"),
    ],
)
def test_a_request_that_cannot_be_done_is_a_problem(
    jobs: Call, members: dict[str, Any], status: int, code: str
) -> None:
    found, answer = jobs("POST", "/v1/jobs", json_body=members)
    assert (found, answer["code"]) == (status, code)


@pytest.mark.parametrize(
    "text",
    [
        *("0", "100", "007", "5%", "2.5%", "0%", "0.0%", "100%", "100.00%", "12.25%"),
        *(
            "",
            "%",
            "-1",
            "-1%",
            "500%",
            "100.1%",
            "1e1%",
            "nan%",
            "inf%",
            "5 %",
            " 5",
            "5\n",
            "1_000",
            "\u0663",
        ),
        *("2.5", "5%%", ".5%", "5.%", "many", "9" * 18, "9" * 19, "9" * 5000),
    ],
)
def test_the_api_and_the_command_take_the_same_limits_of_errors(text: str) -> None:
    from featherface_batch.errors import UsageError
    from featherface_batch.limits import ErrorLimit

    def taken(read: Callable[[], object], refusal: type[Exception]) -> bool:
        try:
            read()
        except refusal:
            return False
        return True

    def ask(max_errors: object) -> JobRequest:
        members = {"source": SOURCE, "options": {"max_errors": max_errors}}
        return read_job_request(members, uuid.uuid4().hex, PHOTOS, RESULTS)

    document = json.loads((ROOT / "openapi.json").read_text(encoding="utf-8"))
    schema = document["components"]["schemas"]["JobRequest"]["properties"]["options"]
    by_api = taken(lambda: ask(text), InvalidOptionError)
    assert by_api == taken(lambda: ErrorLimit.parse(text), UsageError)
    # a line end at the very end is between the dialects of expressions
    if not text.endswith("\n"):
        described = taken(
            lambda: jsonschema.validate({"max_errors": text}, schema), jsonschema.ValidationError
        )
        assert described == by_api
    if by_api:
        arguments = command_line(ask(text))
        assert arguments[arguments.index("--max-errors") + 1] == text
    if text.isdecimal() and text.isascii() and len(text) < 20 and text == str(int(text)):
        assert taken(lambda: ask(int(text)), InvalidOptionError) == by_api


def test_every_job_s_command_line_is_one_that_the_batch_package_reads() -> None:
    from featherface_batch import cli
    from featherface_batch.limits import ErrorLimit
    from featherface_batch.sinks import FORMATS as KNOWN

    assert set(FORMATS) == set(KNOWN)
    members = {
        "source": f's3://{PHOTOS}/it\'s; $(a) "b" --output x',
        "formats": list(FORMATS),
        "options": {
            "model": "v1",
            "precision": "int8",
            "input_size": 960,
            "confidence_threshold": 0.3,
            "max_errors": "5%",
            "mirror": True,
            "retry_errors": True,
            "limit": 500,
        },
    }
    request = read_job_request(members, uuid.uuid4().hex, PHOTOS, RESULTS)
    parser = argparse.ArgumentParser()
    cli.command(parser.add_subparsers())
    arguments = parser.parse_args(command_line(request)[1:])
    assert arguments.source == members["source"]
    assert arguments.output == request.output
    assert (arguments.model, arguments.precision) == ("v1", "int8")
    assert (arguments.input_size, arguments.confidence) == (960, 0.3)
    assert arguments.mirror
    assert arguments.retry_errors
    assert arguments.limit == 500
    assert ErrorLimit.parse(arguments.max_errors)
