"""S3 and DynamoDB on loopback, for functions that are measured."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from layers.emulator import VARIABLES
from moto.server import ThreadedMotoServer

__all__ = ["create_tables", "served", "upload"]

_BUCKETS = (VARIABLES["PHOTOS_BUCKET"], VARIABLES["RESULTS_BUCKET"])


@contextmanager
def served() -> Iterator[str]:
    """Serve the buckets of the measured functions, and room for tables, and give the address."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    try:
        for bucket in _BUCKETS:
            _client(url, "s3").create_bucket(Bucket=bucket)
        yield url
    finally:
        server.stop()


def create_tables(url: str, index: str, idempotency: str) -> None:
    """Create the tables of the upload event's function, with the template's keys."""
    for table, key in ((index, "photo"), (idempotency, "id")):
        _client(url, "dynamodb").create_table(
            TableName=table,
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"}],
            KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
            BillingMode="PAY_PER_REQUEST",
        )


def _client(url: str, service: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=url,
        region_name=VARIABLES["AWS_REGION"],
        aws_access_key_id=VARIABLES["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=VARIABLES["AWS_SECRET_ACCESS_KEY"],
    )


def upload(url: str, key: str, photo: bytes) -> dict[str, Any]:
    """Put a photo into its bucket; returns the queue's event of it."""
    bucket = _BUCKETS[0]
    etag = _client(url, "s3").put_object(Bucket=bucket, Key=key, Body=photo)["ETag"].strip('"')
    record = {
        "eventName": "ObjectCreated:Put",
        "eventTime": "2026-01-01T00:00:00.000Z",
        "s3": {"bucket": {"name": bucket}, "object": {"key": key, "eTag": etag, "sequencer": "0A"}},
    }
    return {"Records": [{"messageId": key, "body": json.dumps({"Records": [record]})}]}
