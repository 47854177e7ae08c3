from __future__ import annotations

import json
import os
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.endpoint import Endpoint
from queue_messages import message, uploaded
from refusals import refused

from featherface import Detector
from ingest.service import IngestService

PHOTOS = "photos-of-the-tests"
RESULTS = "results-of-the-tests"
Handler = Callable[..., dict[str, Any]]


@pytest.fixture
def queue(aws: Callable[[str], Any], s3: Any) -> Iterator[Callable[[], list[str]]]:
    """Let S3 tell a queue of every change; returns what the queue has got since."""
    sqs = aws("sqs")
    url = sqs.create_queue(QueueName=f"uploads-{uuid.uuid4().hex}")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]
    s3.put_bucket_notification_configuration(
        Bucket=PHOTOS,
        NotificationConfiguration={"QueueConfigurations": [{"QueueArn": arn, "Events": events}]},
    )

    def receive() -> list[str]:
        bodies: list[str] = []
        while batch := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            for entry in batch:
                bodies.append(entry["Body"])
                sqs.delete_message(QueueUrl=url, ReceiptHandle=entry["ReceiptHandle"])
        return bodies

    yield receive
    s3.put_bucket_notification_configuration(Bucket=PHOTOS, NotificationConfiguration={})
    sqs.delete_queue(QueueUrl=url)


def result(s3: Any, key: str) -> dict[str, Any] | None:
    try:
        answer = s3.get_object(Bucket=RESULTS, Key=f"results/{key}.json")
    except s3.exceptions.NoSuchKey:
        return None
    document: dict[str, Any] = json.loads(answer["Body"].read())
    return document


def row(aws: Callable[[str], Any], key: str) -> dict[str, Any]:
    photo = {"photo": {"S": f"{PHOTOS}/{key}"}}
    item = aws("dynamodb").get_item(TableName=os.environ["INDEX_TABLE"], Key=photo).get("Item", {})
    return {name: value.get("S", value.get("N")) for name, value in item.items()}


def test_an_upload_s_event_leaves_the_detector_s_answer(
    ingest_handler: Handler,
    context: Any,
    queue: Callable[[], list[str]],
    s3: Any,
    aws: Callable[[str], Any],
    reference: Detector,
    sample: Callable[[str], bytes],
) -> None:
    key = f"holiday/{uuid.uuid4().hex} + é 100%.jpg"
    s3.put_object(Bucket=PHOTOS, Key=key, Body=sample("group.jpg"))
    bodies = queue()
    # S3's test event comes first and must not fail
    assert any("s3:TestEvent" in body for body in bodies)
    answer = ingest_handler({"Records": [message(body) for body in bodies]}, context)
    assert answer == {"batchItemFailures": []}
    found = result(s3, key)
    assert found is not None
    assert found["photo"]["key"] == key
    expected = reference.detect(sample("group.jpg")).to_dict()
    assert {name: found[name] for name in expected} == expected
    assert found["faces"]
    entry = row(aws, key)
    assert entry["state"] == "done"
    assert entry["result_key"] == f"results/{key}.json"
    assert int(entry["faces"]) == len(found["faces"])


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"no photo", "unsupported_format"), (b"", "unreadable_image"), (bytes(3_000_001), "image_too_large")],
)
def test_a_file_that_is_no_photo_is_recorded_and_not_retried(
    ingest_handler: Handler,
    context: Any,
    queue: Callable[[], list[str]],
    s3: Any,
    aws: Callable[[str], Any],
    key: str,
    content: bytes,
    code: str,
) -> None:
    s3.put_object(Bucket=PHOTOS, Key=key, Body=content)
    answer = ingest_handler({"Records": [message(body) for body in queue()]}, context)
    assert answer == {"batchItemFailures": []}
    found = result(s3, key)
    assert found is not None
    assert found["error"]["code"] == code
    assert row(aws, key)["state"] == "failed"
    assert row(aws, key)["error_code"] == code


def test_a_removed_photo_removes_its_result(
    ingest_handler: Handler,
    context: Any,
    queue: Callable[[], list[str]],
    s3: Any,
    aws: Callable[[str], Any],
    jpeg: Callable[[int], bytes],
    key: str,
) -> None:
    s3.put_object(Bucket=PHOTOS, Key=key, Body=jpeg(1))
    ingest_handler({"Records": [message(body) for body in queue()]}, context)
    assert result(s3, key) is not None
    s3.delete_object(Bucket=PHOTOS, Key=key)
    answer = ingest_handler({"Records": [message(body) for body in queue()]}, context)
    assert answer == {"batchItemFailures": []}
    assert result(s3, key) is None
    assert row(aws, key)["state"] == "removed"


def test_one_bad_message_does_not_fail_its_neighbours(
    ingest_handler: Handler,
    context: Any,
    queue: Callable[[], list[str]],
    s3: Any,
    jpeg: Callable[[int], bytes],
    key: str,
) -> None:
    s3.put_object(Bucket=PHOTOS, Key=key, Body=jpeg(2))
    bad = message("{}")
    answer = ingest_handler({"Records": [bad, *(message(body) for body in queue())]}, context)
    assert answer == {"batchItemFailures": [{"itemIdentifier": bad["messageId"]}]}
    assert result(s3, key) is not None


def test_one_bad_record_does_not_fail_those_of_its_message(
    ingest_handler: Handler,
    context: Any,
    queue: Callable[[], list[str]],
    s3: Any,
    jpeg: Callable[[int], bytes],
    key: str,
) -> None:
    s3.put_object(Bucket=PHOTOS, Key=key, Body=jpeg(2))
    # besides the test event of S3
    (good,) = (record for body in queue() for record in json.loads(body).get("Records", []))
    both = message(json.dumps({"Records": [{"eventName": "ObjectCreated:Put"}, good]}))
    # it goes back for the record that nobody understands, and the other has its result all the same
    answer = ingest_handler({"Records": [both]}, context)
    assert answer == {"batchItemFailures": [{"itemIdentifier": both["messageId"]}]}
    assert result(s3, key) is not None


def test_an_upload_makes_the_calls_that_its_cost_is_reckoned_with(
    ingest_handler: Handler,
    context: Any,
    queue: Callable[[], list[str]],
    s3: Any,
    jpeg: Callable[[int], bytes],
    key: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # docs/lambda.md prices these
    s3.put_object(Bucket=PHOTOS, Key=key, Body=jpeg(4))
    (body,) = (body for body in queue() if "s3:TestEvent" not in body)
    calls: Counter[str] = Counter()
    send = Endpoint.make_request

    def counted(endpoint: Any, operation: Any, request: Any) -> Any:
        calls[operation.name] += 1
        return send(endpoint, operation, request)

    monkeypatch.setattr(Endpoint, "make_request", counted)
    assert ingest_handler({"Records": [message(body)]}, context) == {"batchItemFailures": []}
    assert calls == {"PutItem": 1, "UpdateItem": 3, "GetItem": 1, "GetObject": 1, "PutObject": 1}


def test_duplicates_are_analysed_once(
    ingest_handler: Handler,
    context: Any,
    queue: Callable[[], list[str]],
    s3: Any,
    jpeg: Callable[[int], bytes],
    key: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    s3.put_object(Bucket=PHOTOS, Key=key, Body=jpeg(3))
    (body,) = (body for body in queue() if "s3:TestEvent" not in body)
    capsys.readouterr()
    for _ in range(2):
        answer = ingest_handler({"Records": [message(body), message(body)]}, context)
        assert answer == {"batchItemFailures": []}
    metrics = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"_aws"' in line]
    assert sum(sum(blob.get("photos", [])) for blob in metrics) == 1
    assert result(s3, key) is not None


def metrics(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    (line,) = (line for line in capsys.readouterr().out.splitlines() if '"_aws"' in line)
    told: dict[str, Any] = json.loads(line)
    return told


def test_a_duplicate_of_what_is_under_way_is_no_error(
    ingest_handler: Handler,
    context: Any,
    key: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    event, nested, settle = uploaded(PHOTOS, key), [], IngestService.settle

    def with_a_duplicate(service: IngestService, change: Any) -> str:
        capsys.readouterr()
        with caplog.at_level("INFO"):
            nested.append(ingest_handler(event, context))
        return settle(service, change)

    monkeypatch.setattr(IngestService, "settle", with_a_duplicate)
    ingest_handler(event, context)
    back = [{"itemIdentifier": event["Records"][0]["messageId"]}]
    assert nested == [{"batchItemFailures": back}]
    (told,) = (record for record in caplog.records if "under way" in record.message)
    assert (told.levelname, told.exc_info) == ("INFO", None)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        ("ProvisionedThroughputExceededException", "storage_unavailable"),
        ("AccessDeniedException", "missing_right"),
    ],
)
def test_a_record_against_duplicates_that_cannot_be_kept_is_a_coded_error(
    ingest_handler: Handler,
    context: Any,
    key: str,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    refusal: str,
    code: str,
) -> None:
    event = uploaded(PHOTOS, key)
    with refused("dynamodb", 400, refusal, "PutItem"):
        answer = ingest_handler(event, context)
    assert answer == {"batchItemFailures": [{"itemIdentifier": event["Records"][0]["messageId"]}]}
    assert metrics(capsys)["coded_errors"] == [1]
    (told,) = (record for record in caplog.records if record.levelname == "ERROR")
    assert told.__dict__["error_code"] == code
    assert refusal in told.__dict__["reason"]
    assert told.exc_info is None
