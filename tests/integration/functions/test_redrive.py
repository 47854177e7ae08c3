from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from ingest.redrive import main


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


def test_a_queue_that_is_nobody_s_dead_letter_queue_needs_a_target(
    aws: Callable[[str], Any], deployed: None
) -> None:
    lonely = aws("sqs").create_queue(QueueName=f"lonely-{uuid.uuid4().hex}")["QueueUrl"]
    with pytest.raises(SystemExit):
        main([lonely])
