"""Uploads, calls and jobs through a deployed template: references, wiring and packages are right."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import boto3
import pytest

from featherface import Detector, Settings

ROOT = Path(__file__).parents[3]
PHOTO = ROOT / "examples/photos/coffee.webp"


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    """The faces that every way must find."""
    return Detector.load(settings=Settings(threads=1)).detect(PHOTO.read_bytes()).to_dict()


def found(answer: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    return {name: answer[name] for name in expected}


@pytest.mark.parametrize("key", ["holiday/a b+c%.webp", "ü/Ωé&=?.webp"])
def test_an_upload_gets_its_result_and_loses_it_with_the_photo(
    stack: Any, key: str, expected: dict[str, Any]
) -> None:
    s3, bucket = stack.client("s3"), stack.output("PhotosBucket")
    s3.put_object(Bucket=bucket, Key=key, Body=PHOTO.read_bytes())
    result = stack.wait_for_result(key)
    assert found(result, expected) == expected
    assert result["photo"]["key"] == key
    (table,) = (
        name for logical, name in stack.resources("AWS::DynamoDB::Table").items() if "Index" in logical
    )
    row = stack.client("dynamodb").get_item(TableName=table, Key={"photo": {"S": f"{bucket}/{key}"}})["Item"]
    assert row["state"]["S"] == "done"
    s3.delete_object(Bucket=bucket, Key=key)
    stack.wait_for_removal(key)


def test_what_is_no_photo_gets_a_coded_error(stack: Any) -> None:
    stack.client("s3").put_object(Bucket=stack.output("PhotosBucket"), Key="broken.jpg", Body=b"broken")
    assert stack.wait_for_result("broken.jpg")["error"]["code"] == "unsupported_format"


def test_a_call_needs_a_signature(stack: Any) -> None:
    assert stack.call("GET", "/v1/health", signed=False)[0] == 403


def test_a_call_gets_the_same_faces(stack: Any, expected: dict[str, Any]) -> None:
    # The emulator does not pass binary bodies on as a REST API does, so the photo comes in JSON.
    image = base64.b64encode(PHOTO.read_bytes()).decode()
    status, answer = stack.call("POST", "/v1/detect", {"image": image})
    assert status == 200
    assert found(answer, expected) == expected
    status, health = stack.call("GET", "/v1/health")
    assert (status, health["model_info"]) == (200, answer["model_info"])


def test_a_call_reads_a_stored_photo_and_makes_an_upload(stack: Any, expected: dict[str, Any]) -> None:
    bucket = stack.output("PhotosBucket")
    stack.client("s3").put_object(Bucket=bucket, Key="stored.webp", Body=PHOTO.read_bytes())
    status, answer = stack.call("POST", "/v1/detect", {"s3": {"bucket": bucket, "key": "stored.webp"}})
    assert (status, found(answer, expected)) == (200, expected)
    status, upload = stack.call("POST", "/v1/uploads", {})
    assert status == 201
    assert bucket in upload["upload"]["url"]
    status, answer = stack.call("GET", upload["result"])
    assert (status, answer["code"]) == (404, "result_not_found")


def test_rekognition_s_client_reaches_the_api_when_it_signs_for_it(
    stack: Any, expected: dict[str, Any]
) -> None:
    client = boto3.client(
        "rekognition",
        endpoint_url=stack.api_url(),
        region_name="us-east-1",
        aws_access_key_id="000000000000",
        aws_secret_access_key="testing",
    )

    def sign_for_the_gateway(context: dict[str, Any], **_: Any) -> None:
        context.setdefault("signing", {})["signing_name"] = "execute-api"

    client.meta.events.register("choose-signer.rekognition.*", sign_for_the_gateway)
    answer = client.detect_faces(Image={"Bytes": PHOTO.read_bytes()})
    assert len(answer["FaceDetails"]) == len(expected["faces"])
    with pytest.raises(client.exceptions.InvalidImageFormatException):
        client.detect_faces(Image={"Bytes": b"no photo"})


def test_a_job_goes_to_aws_batch(stack: Any) -> None:
    source = f"s3://{stack.output('PhotosBucket')}/holiday"
    status, made = stack.call("POST", "/v1/jobs", {"source": source})
    assert status == 202
    batch = stack.client("batch")
    jobs = [
        job
        for state in ("SUBMITTED", "RUNNABLE", "RUNNING", "SUCCEEDED")
        for job in batch.list_jobs(jobQueue="bulk", jobStatus=state)["jobSummaryList"]
    ]
    (job,) = (job for job in jobs if made["id"] in job["jobName"])
    (described,) = batch.describe_jobs(jobs=[job["jobId"]])["jobs"]
    assert (
        described["jobDefinition"].endswith("annotate")
        or ":job-definition/annotate:" in described["jobDefinition"]
    )
    # the emulator's Batch runs nothing and is done at once
    progress = {"state": "annotated", "photos": 1, "done": 1, "errors": 0}
    bucket, _, key = made["output"].removeprefix("s3://").partition("/")
    stack.client("s3").put_object(
        Bucket=bucket, Key=f"{key}/progress.json", Body=json.dumps(progress).encode()
    )
    status, shown = stack.call("GET", f"/v1/jobs/{made['id']}")
    assert (status, shown["state"], shown["progress"]) == (200, "succeeded", progress)


def test_alarms_and_the_dashboard_watch_what_was_deployed(stack: Any) -> None:
    cloudwatch = stack.client("cloudwatch")
    functions = set(stack.resources("AWS::Lambda::Function").values())
    queues = {url.rpartition("/")[2] for url in stack.resources("AWS::SQS::Queue").values()}
    names = list(stack.resources("AWS::CloudWatch::Alarm").values())
    alarms = cloudwatch.describe_alarms(AlarmNames=names, MaxRecords=100)["MetricAlarms"]
    assert len(alarms) == len(names)
    watched: dict[str, set[str]] = {}
    for alarm in alarms:
        for dimension in alarm["Dimensions"]:
            watched.setdefault(dimension["Name"], set()).add(dimension["Value"])
    (api,) = stack.resources("AWS::ApiGateway::RestApi").values()
    assert watched == {
        "FunctionName": functions,
        "QueueName": queues,
        "service": {"featherface"},
        "ApiName": {stack.client("apigateway").get_rest_api(restApiId=api)["name"]},
        "Stage": {"live"},
    }
    (name,) = stack.resources("AWS::CloudWatch::Dashboard").values()
    body = json.loads(cloudwatch.get_dashboard(DashboardName=name)["DashboardBody"])
    assert "${" not in json.dumps(body)
    assert len(body["widgets"]) >= 4
