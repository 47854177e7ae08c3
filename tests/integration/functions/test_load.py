"""Many uploads through a real queue: duplicates, disorder, broken files, throttling, and nothing is lost."""

from __future__ import annotations

import json
import os
import random
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

import pytest
from function_process import FunctionProcess, running
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import make_server

PHOTOS, RESULTS = "photos-of-the-load", "results-of-the-tests"
UPLOADS = int(os.environ.get("FEATHERFACE_TEST_UPLOADS", "200"))
"""As many as fit into a suite; docs/lambda.md has the command for the issue's 1,000."""
ENVIRONMENTS = 2
IN_THE_QUEUE = 40
"""Messages at a time: for each that it hands out, the emulator looks at all that it holds dozens of times."""
REFUSED = 0.05
REFUSAL = b"<Error><Code>SlowDown</Code><Message>injected</Message></Error>"


class Throttled:
    """The emulator, but some requests of S3's are refused as S3 refuses a sudden ramp.

    DynamoDB's come one at a time: the emulator reads an item, looks whether the condition holds and writes,
    and between two environments a write that DynamoDB would have refused gets through.
    """

    def __init__(self, seed: int) -> None:
        self._app = DomainDispatcherApplication(create_backend_app)
        self._dice = random.Random(seed)
        self._one_at_a_time = threading.Lock()
        self.refused = Counter[str]()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        # its service stands in a request's signature
        signature = environ.get("HTTP_AUTHORIZATION", "")
        if "/s3/aws4_request" in signature and self._dice.random() < REFUSED:
            self.refused[environ["REQUEST_METHOD"]] += 1
            # a body that is not read would be taken for the next request of the connection
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            headers = [("Content-Type", "application/xml"), ("Content-Length", str(len(REFUSAL)))]
            start_response("503 Slow Down", headers)
            return [REFUSAL]
        with self._one_at_a_time if "/dynamodb/aws4_request" in signature else nullcontext():
            return self._app(environ, start_response)


class KeptAlive(MotoRequestHandler):
    """Answers all requests of a client on one connection: with one each, connecting is most of the work."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True


@pytest.fixture
def throttled() -> Iterator[tuple[str, Counter[str]]]:
    """The same emulator by an address at which S3 refuses some requests, which are counted."""
    app = Throttled(seed=5)
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=KeptAlive)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", app.refused
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def functions(
    deployed: None, environ: Mapping[str, str], throttled: tuple[str, Counter[str]], tmp_path: Path
) -> Iterator[list[FunctionProcess]]:
    """Environments of the function, side by side; what is throttled goes back to the queue at once."""
    own = {**environ, "AWS_ENDPOINT_URL": throttled[0], "AWS_MAX_ATTEMPTS": "1"}
    with ExitStack() as stack:
        yield [
            stack.enter_context(running("ingest.handler", own, tmp_path / f"{number}.log"))
            for number in range(ENVIRONMENTS)
        ]


@pytest.fixture
def queues(aws: Callable[[str], Any], deployed: None) -> tuple[str, str]:
    """A queue that a bucket of its own tells of every change, and its dead-letter queue."""
    sqs, s3 = aws("sqs"), aws("s3")

    def arn(url: str) -> str:
        answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return str(answer["Attributes"]["QueueArn"])

    dead = sqs.create_queue(QueueName=f"dead-{uuid.uuid4().hex}")["QueueUrl"]
    policy = json.dumps({"deadLetterTargetArn": arn(dead), "maxReceiveCount": "5"})
    attributes = {"RedrivePolicy": policy, "VisibilityTimeout": "360"}
    url = sqs.create_queue(QueueName=f"load-{uuid.uuid4().hex}", Attributes=attributes)["QueueUrl"]
    s3.create_bucket(Bucket=PHOTOS)
    events = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]
    s3.put_bucket_notification_configuration(
        Bucket=PHOTOS,
        NotificationConfiguration={"QueueConfigurations": [{"QueueArn": arn(url), "Events": events}]},
    )
    return str(url), str(dead)


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
    functions: list[FunctionProcess],
    throttled: tuple[str, Counter[str]],
    queues: tuple[str, str],
    aws: Callable[[str], Any],
    jpeg: Callable[..., bytes],
) -> None:
    from ingest.redrive import redrive

    (queue, dead), sqs, s3 = queues, aws("sqs"), aws("s3")
    expected, events = upload(s3, sqs, queue, jpeg)
    returned = 0
    with ThreadPoolExecutor(ENVIRONMENTS) as pool:
        for start in range(0, len(events), IN_THE_QUEUE):
            send(sqs, queue, events[start : start + IN_THE_QUEUE])
            returned += sum(pool.map(lambda function: drain(aws("sqs"), queue, function), functions))
        # who was refused five times is sent back, as an operator would
        while redrive(sqs, dead, queue):
            returned += sum(pool.map(lambda function: drain(aws("sqs"), queue, function), functions))

    assert throttled[1]["GET"]
    assert throttled[1]["PUT"]
    assert returned
    assert not waiting(sqs, queue)
    assert states(aws) == expected
    results = {
        entry["Key"].removeprefix("results/").removesuffix(".json"): entry["Key"]
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=RESULTS, Prefix="results/load/")
        for entry in page.get("Contents", ())
    }
    assert results.keys() == {key for key, state in expected.items() if state != "removed"}
    current = {
        entry["Key"]: entry["ETag"].strip('"')
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=PHOTOS)
        for entry in page["Contents"]
    }
    for key, name in results.items():
        document = json.loads(s3.get_object(Bucket=RESULTS, Key=name)["Body"].read())
        assert ("error" in document) == (expected[key] == "failed")
        assert document["photo"]["etag"] == current[key]


def upload(s3: Any, sqs: Any, queue: str, jpeg: Callable[..., bytes]) -> tuple[dict[str, str], list[str]]:
    """Upload, replace and remove photos.

    Returns the state that each must end in, and all events in another order, a tenth of them twice.
    """
    expected: dict[str, str] = {}
    events: list[str] = []
    dice = random.Random(7)
    for number in range(UPLOADS):
        key = f"load/{number:04d} + ü.jpg"
        kind = dice.choices(["photo", "broken", "removed", "replaced"], [80, 5, 5, 10])[0]
        s3.put_object(Bucket=PHOTOS, Key=key, Body=b"broken" if kind == "broken" else jpeg(number))
        events += told(sqs, queue, 2 * number)
        if kind == "replaced":
            s3.put_object(Bucket=PHOTOS, Key=key, Body=jpeg(number + 10_000))
        if kind == "removed":
            s3.delete_object(Bucket=PHOTOS, Key=key)
        events += told(sqs, queue, 2 * number + 1)
        expected[key] = {"broken": "failed", "removed": "removed"}.get(kind, "done")
    events += dice.sample(events, len(events) // 10)
    dice.shuffle(events)
    return expected, events


def told(sqs: Any, queue: str, sequencer: int) -> list[str]:
    """Take the events of one change, in the order that S3 gives: the emulator has its clock alone."""
    events = []
    while batch := poll(sqs, queue):
        for message in batch:
            event = json.loads(message["body"])
            # the bucket's greeting has none
            for record in event.get("Records", ()):
                record["s3"]["object"]["sequencer"] = f"{sequencer:016X}"
            events.append(json.dumps(event))
        delete(sqs, queue, batch)
    return events


def send(sqs: Any, queue: str, events: list[str]) -> None:
    for start in range(0, len(events), 10):
        entries = [{"Id": str(n), "MessageBody": body} for n, body in enumerate(events[start : start + 10])]
        sqs.send_message_batch(QueueUrl=queue, Entries=entries)


def drain(sqs: Any, queue: str, function: FunctionProcess) -> int:
    """Do as Lambda's poller does until the queue is empty; returns how many messages came back to it."""
    returned = 0
    while batch := poll(sqs, queue):
        failed = {entry["itemIdentifier"] for entry in function({"Records": batch})["batchItemFailures"]}
        returned += len(failed)
        delete(sqs, queue, [message for message in batch if message["messageId"] not in failed])
        for message in batch:
            if message["messageId"] in failed:
                # nobody waits for the time-out here
                sqs.change_message_visibility(
                    QueueUrl=queue, ReceiptHandle=message["receiptHandle"], VisibilityTimeout=0
                )
    return returned


def delete(sqs: Any, queue: str, messages: list[dict[str, Any]]) -> None:
    if messages:
        entries = [{"Id": str(n), "ReceiptHandle": m["receiptHandle"]} for n, m in enumerate(messages)]
        sqs.delete_message_batch(QueueUrl=queue, Entries=entries)


def waiting(sqs: Any, queue: str) -> bool:
    """Whether the queue holds messages, seen or not."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"]
    return any(int(found[name]) for name in names)


def states(aws: Callable[[str], Any]) -> dict[str, str]:
    pages = aws("dynamodb").get_paginator("scan").paginate(TableName=os.environ["INDEX_TABLE"])
    items = [item for page in pages for item in page["Items"]]
    return {item["key"]["S"]: item["state"]["S"] for item in items if item["bucket"]["S"] == PHOTOS}
