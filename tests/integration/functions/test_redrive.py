from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from ingest.redrive import main
from shared.clients import client


def test_dead_letters_go_back_to_their_queue(
    aws: Callable[[str], Any], deployed: None, capsys: pytest.CaptureFixture[str]
) -> None:
    sqs = aws("sqs")
    dead = sqs.create_queue(QueueName=f"dead-{uuid.uuid4().hex}")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": "5"})
    queue = sqs.create_queue(QueueName=f"live-{uuid.uuid4().hex}", Attributes={"RedrivePolicy": policy})[
        "QueueUrl"
    ]
    bodies = {f"letter {number}" for number in range(23)}
    for body in bodies:
        sqs.send_message(QueueUrl=dead, MessageBody=body)

    assert main([dead]) == 0

    assert json.loads(capsys.readouterr().out) == {"moved": 23, "to": queue}
    back = set()
    while messages := sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages"):
        back |= {message["Body"] for message in messages}
    assert back == bodies
    assert "Messages" not in sqs.receive_message(QueueUrl=dead)


def test_what_was_moved_before_an_error_is_counted(
    aws: Callable[[str], Any], deployed: None, capsys: pytest.CaptureFixture[str]
) -> None:
    sqs = aws("sqs")
    dead, queue = (
        sqs.create_queue(QueueName=f"{name}-{uuid.uuid4().hex}")["QueueUrl"] for name in ("dead", "live")
    )
    for number in range(5):
        sqs.send_message(QueueUrl=dead, MessageBody=f"letter {number}")
    deleted: list[Any] = []

    def closed(**_: Any) -> None:
        deleted.append(None)
        if len(deleted) == 3:
            # somebody removes the queue that messages go to
            sqs.delete_queue(QueueUrl=queue)

    events = client("sqs").meta.events
    events.register("before-call.sqs.SendMessage", closed)
    try:
        assert main([dead, "--to", queue]) == 1
    finally:
        events.unregister("before-call.sqs.SendMessage", closed)
    told = capsys.readouterr()
    assert json.loads(told.out) == {"moved": 2, "to": queue}
    assert told.err.startswith("ingest.redrive: error: moving messages between queues: ")
    assert "[storage_unavailable]" in told.err


def test_a_queue_that_cannot_be_reached_is_a_message(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr("ingest.redrive.client", client.__wrapped__)
    assert main(["http://127.0.0.1:9/000000000000/dead"]) == 1
    told = capsys.readouterr()
    assert json.loads(told.out) == {"moved": 0, "to": None}
    assert told.err.count("\n") == 1
    assert "looking for the source queue" in told.err


def test_a_queue_that_is_nobody_s_dead_letter_queue_needs_a_target(
    aws: Callable[[str], Any], deployed: None
) -> None:
    lonely = aws("sqs").create_queue(QueueName=f"lonely-{uuid.uuid4().hex}")["QueueUrl"]
    with pytest.raises(SystemExit):
        main([lonely])
