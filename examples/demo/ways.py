"""The three ways in: an upload event, an API call, a bulk job. Each gives faces by photo."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Answer", "Context", "annotate", "api_call", "upload_event"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What one way said about one photo.

    Parameters
    ----------
    faces : list or None
        The result's ``faces``, None if the photo could not be used.
    size : tuple of int or None
        Width and height of the upright photo in pixels.
    error : str or None
        The error's stable code.
    milliseconds : float
        From handing the event over to having the answer.
    """

    faces: list[dict[str, Any]] | None
    size: tuple[int, int] | None
    error: str | None
    milliseconds: float


class Context:
    """What the Lambda runtime hands to a handler."""

    function_name = "featherface-demo"
    function_version = "$LATEST"
    memory_limit_in_mb = 1769
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:featherface-demo"
    log_group_name = "/aws/lambda/featherface-demo"
    log_stream_name = "demo"
    aws_request_id = "00000000-0000-0000-0000-000000000000"

    def get_remaining_time_in_millis(self) -> int:
        """Return the time left: a demo's handler is never about to be stopped."""
        return 60_000


def _answer(document: Mapping[str, Any], milliseconds: float) -> Answer:
    if "faces" in document:
        size = (document["image"]["width"], document["image"]["height"])
        return Answer(document["faces"], size, None, milliseconds)
    error = document.get("error", document)
    code = error.get("code") if isinstance(error, Mapping) else error
    return Answer(None, None, str(code), milliseconds)


def upload_event(handler: Any, message: Mapping[str, Any], results: Any, bucket: str, key: str) -> Answer:
    """Hand a queue's message, as Lambda's poller would, to the ingest handler, and read what it wrote.

    Raises
    ------
    RuntimeError
        If the handler asks for the message again.
    """
    event = {
        "Records": [
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": {
                    "ApproximateReceiveCount": "1",
                    "SentTimestamp": str(int(time.time() * 1000)),
                    "SenderId": "demo",
                    "ApproximateFirstReceiveTimestamp": str(int(time.time() * 1000)),
                },
                "messageAttributes": {},
                "md5OfBody": message["MD5OfBody"],
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:uploads",
                "awsRegion": "us-east-1",
            }
        ]
    }
    began = time.perf_counter()
    response = handler(event, Context())
    elapsed = (time.perf_counter() - began) * 1000
    if response["batchItemFailures"]:
        raise RuntimeError(f"the upload of {key} was not handled: {response}")
    written = results.get_object(Bucket=bucket, Key=f"results/{key}.json")["Body"].read()
    return _answer(json.loads(written), elapsed)


def api_call(handler: Any, data: bytes, content_type: str) -> Answer:
    """Call the detect handler as API Gateway does for ``POST /v1/detect`` with a binary body."""
    event = {
        "resource": "/v1/detect",
        "path": "/v1/detect",
        "httpMethod": "POST",
        "headers": {"Content-Type": content_type, "Accept": "application/json"},
        "multiValueHeaders": {"Content-Type": [content_type], "Accept": ["application/json"]},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {
            "resourcePath": "/v1/detect",
            "httpMethod": "POST",
            "path": "/v1/detect",
            "stage": "v1",
            "requestId": "demo",
            "identity": {"sourceIp": "127.0.0.1"},
            "requestTimeEpoch": int(time.time() * 1000),
        },
        "body": base64.b64encode(data).decode(),
        "isBase64Encoded": True,
    }
    began = time.perf_counter()
    response = handler(event, Context())
    elapsed = (time.perf_counter() - began) * 1000
    return _answer(json.loads(response["body"]), elapsed)


def annotate(source: str, output: str, client: Any) -> tuple[dict[str, Answer], float, str]:
    """Run ``featherface annotate`` as a user would, with its progress on the terminal.

    Returns
    -------
    answers : dict
        By key.
    seconds : float
        The whole command, Ray's start included.
    log : str
        The progress that it printed.

    Raises
    ------
    RuntimeError
        If the command fails.
    """
    command = [
        str(Path(sys.executable).parent / "featherface"),
        "annotate",
        source,
        "--output",
        output,
        "--format",
        "jsonl,coco",
    ]
    began = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=dict(os.environ)
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        print(f"    {line}", end="", file=sys.__stdout__, flush=True)
    if process.wait():
        raise RuntimeError(f"featherface annotate ended with {process.returncode}")
    seconds = time.perf_counter() - began
    bucket, _, prefix = output.removeprefix("s3://").partition("/")

    def rows(name: str) -> list[dict[str, Any]]:
        body = client.get_object(Bucket=bucket, Key=f"{prefix}/{name}")["Body"].read()
        return [json.loads(line) for line in body.splitlines()]

    answers = {row["key"]: _answer(row, 0.0) for row in rows("annotations.jsonl") + rows("errors.jsonl")}
    return answers, seconds, "".join(lines)
