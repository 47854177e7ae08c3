"""Whatever is sent, the API answers with one of its statuses, never 500 and never a stack trace."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

from gateway_events import rest_event
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featherface import DetectOptions

CONTENT_TYPES = st.sampled_from(
    [
        "image/jpeg",
        "image/png",
        "application/json",
        "application/json; charset=utf-8",
        "multipart/form-data; boundary=b",
        "multipart/form-data",
        "text/plain",
        "",
        "é/x",
    ]
)
TEXTS = st.text(max_size=12)
MEMBERS = ["image", "images", "s3", "bucket", "key", "versionId", "Image", "Bytes", "S3Object", "Attributes"]
NAMES = st.sampled_from([*MEMBERS, *DetectOptions.__slots__, "model", "landmarks"])
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | TEXTS
    | st.just(base64.b64encode(b"x").decode()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | TEXTS, inner, max_size=5),
    max_leaves=12,
)
SMALL = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
PATHS = st.sampled_from(["/v1/detect", "/v1/detect/batch"])


@SMALL
@given(
    path=PATHS,
    body=st.binary(max_size=64),
    content_type=CONTENT_TYPES,
    query=st.dictionaries(NAMES | TEXTS, TEXTS, max_size=3),
)
def test_any_bytes_get_a_described_answer(
    detect_handler: Callable[..., dict[str, Any]],
    context: Any,
    path: str,
    body: bytes,
    content_type: str,
    query: dict[str, str],
) -> None:
    event = rest_event("POST", path, body=body, content_type=content_type, query=query)
    answer = detect_handler(event, context)
    assert answer["statusCode"] in (400, 413, 415, 422)
    assert json.loads(answer["body"])["status"] == answer["statusCode"]


@SMALL
@given(path=PATHS, members=JSON)
def test_any_json_gets_a_described_answer(
    detect_handler: Callable[..., dict[str, Any]], context: Any, path: str, members: Any
) -> None:
    answer = detect_handler(rest_event("POST", path, json_body=members), context)
    assert answer["statusCode"] in (200, 400, 404, 413, 415, 422)


@SMALL
@given(members=JSON)
def test_any_json_gets_an_exception_of_rekognition(
    detect_handler: Callable[..., dict[str, Any]], context: Any, members: Any
) -> None:
    headers = {"X-Amz-Target": "RekognitionService.DetectFaces"}
    answer = detect_handler(rest_event("POST", "/", json_body=members, headers=headers), context)
    assert answer["statusCode"] == 400
    assert json.loads(answer["body"])["__type"].endswith("Exception")
