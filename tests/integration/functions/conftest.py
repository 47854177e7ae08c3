"""The handlers as Lambda runs them, against S3, SQS and DynamoDB over HTTP on loopback."""

from __future__ import annotations

import importlib
import io
import json
import logging
import os
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
from moto.server import ThreadedMotoServer
from PIL import Image

from featherface import Detector, load_settings

# tests are no package, so their helpers are found by path
sys.path.insert(0, str(Path(__file__).parent))

from gateway_events import rest_event
from template_tables import template_table

ROOT = Path(__file__).parents[3]
PHOTOS = "photos-of-the-tests"
RESULTS = "results-of-the-tests"


@dataclass
class Context:
    """What Lambda hands to a handler beside the event."""

    function_name: str = "featherface-test"
    memory_limit_in_mb: int = 1769
    aws_request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:000000000000:function:featherface-test"

    def get_remaining_time_in_millis(self) -> int:
        return 60_000


@contextmanager
def applied(environ: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for a while: the other tests of the process must not see them."""
    before = {name: os.environ.get(name) for name in environ}
    os.environ.update(environ)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    """Serve S3, SQS and DynamoDB."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def environ(endpoint: str) -> Mapping[str, str]:
    """Return the environment that the template gives the functions.

    A threshold of 0 makes any weights find faces, so that answers are worth comparing.
    """
    return {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": endpoint,
        "RESULTS_BUCKET": RESULTS,
        "PHOTOS_BUCKET": PHOTOS,
        "INDEX_TABLE": "index-of-the-tests",
        "IDEMPOTENCY_TABLE": "idempotency-of-the-tests",
        "FEATHERFACE_CONFIDENCE_THRESHOLD": "0.0",
        "FEATHERFACE_MAX_DETECTIONS": "5",
        "FEATHERFACE_INPUT_SIZE": "320",
        "FEATHERFACE_DEVICE": "cpu",
        "FEATHERFACE_THREADS": "1",
        "FEATHERFACE_MAX_IMAGE_BYTES": "3000000",
        "FEATHERFACE_MAX_IMAGE_PIXELS": "16000000",
        "POWERTOOLS_TRACE_DISABLED": "true",
    }


@pytest.fixture(scope="module", autouse=True)
def function_environment(environ: Mapping[str, str]) -> Iterator[None]:
    """Run a module's tests in the functions' environment."""
    with applied(environ):
        yield


@pytest.fixture(autouse=True)
def told_metrics() -> Iterator[None]:
    """Write what tests of single parts have counted: a handler's line tells of its own invocation alone.

    Afterwards as well, for other folders' tests of handlers may come next in this process.
    """
    from shared.observability import METRICS

    METRICS.flush()
    yield
    METRICS.flush()


@pytest.fixture(scope="session")
def aws(endpoint: str) -> Callable[[str], Any]:
    """Make a client of a service; the tests' own, apart from the functions'."""
    return lambda service: boto3.client(
        service,
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )


@pytest.fixture(scope="session")
def deployed(aws: Callable[[str], Any], environ: Mapping[str, str]) -> None:
    """Create the buckets and tables."""
    s3, dynamodb = aws("s3"), aws("dynamodb")
    for bucket in (PHOTOS, RESULTS):
        s3.create_bucket(Bucket=bucket)
    dynamodb.create_table(TableName=environ["INDEX_TABLE"], **template_table("IndexTable"))
    dynamodb.create_table(TableName=environ["IDEMPOTENCY_TABLE"], **template_table("IdempotencyTable"))


@pytest.fixture(scope="session")
def detect_handler(deployed: None, environ: Mapping[str, str]) -> Callable[..., dict[str, Any]]:
    with applied(environ):
        handler: Callable[..., dict[str, Any]] = importlib.import_module("detect.handler").lambda_handler
    return handler


@pytest.fixture(scope="session")
def ingest_handler(deployed: None, environ: Mapping[str, str]) -> Callable[..., dict[str, Any]]:
    with applied(environ):
        handler: Callable[..., dict[str, Any]] = importlib.import_module("ingest.handler").lambda_handler
    return handler


@pytest.fixture(scope="session")
def reference(environ: Mapping[str, str]) -> Detector:
    """The detector that every answer must agree with."""
    with applied(environ):
        return Detector.load(settings=load_settings())


@pytest.fixture
def s3(aws: Callable[[str], Any], deployed: None) -> Any:
    return aws("s3")


@pytest.fixture
def key() -> str:
    """A key of this test's own."""
    return f"{uuid.uuid4().hex}.jpg"


@pytest.fixture(scope="session")
def sample() -> Callable[[str], bytes]:
    """Read one of the shipped photos."""
    return lambda name: (ROOT / "examples/photos" / name).read_bytes()


@pytest.fixture(scope="session")
def jpeg() -> Callable[[int], bytes]:
    """Make a small photo; every seed another."""

    def make(seed: int, width: int = 96, height: int = 64) -> bytes:
        pixels = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).resize((width, height)).save(buffer, "JPEG")
        return buffer.getvalue()

    return make


@pytest.fixture
def call(detect_handler: Callable[..., dict[str, Any]]) -> Callable[..., tuple[int, dict[str, Any]]]:
    """Send one HTTP request through the handler: status and JSON come back."""

    def send(method: str, path: str, **request: Any) -> tuple[int, dict[str, Any]]:
        answer = detect_handler(rest_event(method, path, **request), Context())
        return answer["statusCode"], json.loads(answer["body"])

    return send


@pytest.fixture
def context() -> Context:
    return Context()


@pytest.fixture(scope="session")
def api_url(detect_handler: Callable[..., dict[str, Any]]) -> Iterator[str]:
    """The API over HTTP, as `make serve` runs it."""
    from examples.serve.gateway import serving

    from detect.requests import BINARY_TYPES

    with serving(detect_handler, BINARY_TYPES) as url:
        yield url
