"""Many uploads through a real queue: duplicates, disorder, broken files, throttling, and nothing is lost."""

from __future__ import annotations

import json
import os
import random
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse

PHOTOS, RESULTS = "photos-of-the-load", "results-of-the-tests"
UPLOADS = int(os.environ.get("FEATHERFACE_TEST_UPLOADS", "80"))
"""The issue's 1,000 take minutes on the emulator; the same test runs them when asked to."""

Handler = Callable[..., dict[str, Any]]


@pytest.fixture
def queue(aws: Callable[[str], Any], deployed: None) -> str:
    """A queue that a bucket of its own tells of every change, with the template's dead-letter rule."""
    sqs, s3 = aws("sqs"), aws("s3")

    def arn(url: str) -> str:
        answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return str(answer["Attributes"]["QueueArn"])

    dead = sqs.create_queue(QueueName=f"dead-{uuid.uuid4().hex}")["QueueUrl"]
    policy = json.dumps({"deadLetterTargetArn": arn(dead), "maxReceiveCount": "5"})
    attributes = {"RedrivePolicy": policy, "VisibilityTimeout": "0"}
    url = sqs.create_queue(QueueName=f"load-{uuid.uuid4().hex}", Attributes=attributes)["QueueUrl"]
    s3.create_bucket(Bucket=PHOTOS)
    events = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]
    s3.put_bucket_notification_configuration(
        Bucket=PHOTOS,
        NotificationConfiguration={"QueueConfigurations": [{"QueueArn": arn(url), "Events": events}]},
    )
    return str(url)


@pytest.fixture
def throttled(ingest_handler: Handler) -> Iterator[Counter[str]]:
    """Let S3 refuse each twentieth of the function's calls as often as its client tries: counts them."""
    from shared.clients import client

    s3, seen, dice = client("s3"), Counter[str](), random.Random(5)
    refused = {"left": 0}

    class Body:
        def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
            yield b"<Error><Code>SlowDown</Code><Message>injected</Message></Error>"

    def before_send(request: Any, **_: Any) -> AWSResponse | None:
        if refused["left"] == 0 and dice.random() < 0.05:
            # all tries of one call, so that the message must come back
            refused["left"] = 4
            seen["calls"] += 1
        if refused["left"]:
            refused["left"] -= 1
            return AWSResponse(request.url, 503, {}, Body())
        return None

    s3.meta.events.register("before-send.s3.*", before_send)
    yield seen
    s3.meta.events.unregister("before-send.s3.*", before_send)


def poll(sqs: Any, url: str) -> list[dict[str, Any]]:
    """Return a batch as Lambda's poller hands it over."""
    found = sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, AttributeNames=["ApproximateReceiveCount"]
    )
    return [
        {
            "messageId": entry["MessageId"],
            "receiptHandle": entry["ReceiptHandle"],
            "body": entry["Body"],
            "attributes": entry["Attributes"],
            "messageAttributes": {},
            "md5OfBody": entry["MD5OfBody"],
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:load",
            "awsRegion": "us-east-1",
        }
        for entry in found.get("Messages", ())
    ]


def test_every_upload_ends_as_one_result_or_one_coded_error(
    ingest_handler: Handler,
    context: Any,
    queue: str,
    throttled: Counter[str],
    aws: Callable[[str], Any],
    jpeg: Callable[..., bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # a client waits longer and longer between its tries, which shows nothing here
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.0)
    sqs, s3, dice = aws("sqs"), aws("s3"), random.Random(7)
    expected: dict[str, str | None] = {}
    for number in range(UPLOADS):
        key = f"load/{number:04d} + ü.jpg"
        kind = dice.choices(["photo", "broken", "removed", "replaced"], [80, 5, 5, 10])[0]
        s3.put_object(Bucket=PHOTOS, Key=key, Body=b"broken" if kind == "broken" else jpeg(number))
        if kind == "replaced":
            s3.put_object(Bucket=PHOTOS, Key=key, Body=jpeg(number + 10_000))
        if kind == "removed":
            s3.delete_object(Bucket=PHOTOS, Key=key)
        expected[key] = {"broken": "failed", "removed": "removed"}.get(kind, "done")

    # take everything out and put it back in another order, a tenth of it twice
    bodies: list[str] = []
    while batch := poll(sqs, queue):
        bodies += [message["body"] for message in batch]
        for message in batch:
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["receiptHandle"])
    bodies += dice.sample(bodies, len(bodies) // 10)
    dice.shuffle(bodies)
    for body in bodies:
        sqs.send_message(QueueUrl=queue, MessageBody=body)

    returned = 0
    while batch := poll(sqs, queue):
        answer = ingest_handler({"Records": batch}, context)
        failed = {entry["itemIdentifier"] for entry in answer["batchItemFailures"]}
        returned += len(failed)
        for message in batch:
            if message["messageId"] not in failed:
                sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["receiptHandle"])

    assert throttled["calls"]
    assert returned
    rows = states(aws)
    assert rows == expected
    results = {
        entry["Key"].removeprefix("results/").removesuffix(".json")
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=RESULTS, Prefix="results/load/")
        for entry in page.get("Contents", ())
    }
    assert results == {key for key, state in expected.items() if state != "removed"}
    for key, state in expected.items():
        if state != "removed":
            document = json.loads(s3.get_object(Bucket=RESULTS, Key=f"results/{key}.json")["Body"].read())
            assert ("error" in document) == (state == "failed")
            current = s3.head_object(Bucket=PHOTOS, Key=key)["ETag"].strip('"')
            assert document["photo"]["etag"] == current


def states(aws: Callable[[str], Any]) -> dict[str, str]:
    pages = aws("dynamodb").get_paginator("scan").paginate(TableName=os.environ["INDEX_TABLE"])
    items = [item for page in pages for item in page["Items"]]
    return {item["key"]["S"]: item["state"]["S"] for item in items if item["bucket"]["S"] == PHOTOS}
