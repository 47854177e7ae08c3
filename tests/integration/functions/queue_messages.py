"""Messages as Lambda's poller hands them to a handler."""

from __future__ import annotations

import json
import uuid
from typing import Any


def message(body: Any) -> dict[str, Any]:
    """Return a message of the queue of uploads; a body that is no string is sent as JSON."""
    return {
        "messageId": str(uuid.uuid4()),
        "receiptHandle": "handle",
        "body": body if isinstance(body, str) else json.dumps(body),
        "attributes": {"ApproximateReceiveCount": "1"},
        "messageAttributes": {},
        "md5OfBody": "",
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:uploads",
        "awsRegion": "us-east-1",
    }


def uploaded(bucket: str, key: str) -> dict[str, Any]:
    """Return what the poller hands over after an upload of which EventBridge told the queue."""
    detail = {"bucket": {"name": bucket}, "object": {"key": key, "sequencer": "01"}}
    event = {
        "source": "aws.s3",
        "detail-type": "Object Created",
        "time": "2026-11-23T02:00:00Z",
        "detail": detail,
    }
    return {"Records": [message(event)]}
