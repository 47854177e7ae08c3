from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import jsonschema
import pytest
from openapi_spec_validator import validate

ROOT = Path(__file__).parents[3]
DOCUMENT = json.loads((ROOT / "openapi.json").read_text(encoding="utf-8"))


def check(schema: dict[str, Any], value: Any) -> None:
    """Compare a value with a schema of the document."""
    jsonschema.validate(value, {**schema, "components": DOCUMENT["components"]})


def test_the_committed_description_is_the_current_one() -> None:
    from detect.openapi import text

    hint = "write it again: cd functions && python -m detect.openapi > ../openapi.json"
    assert (ROOT / "openapi.json").read_text(encoding="utf-8") == text(), hint


def test_it_is_openapi() -> None:
    validate(DOCUMENT)


def test_it_describes_just_the_routes_that_exist(detect_handler: Callable[..., Any]) -> None:
    import detect.routes
    import detect.runtime
    import jobs.routes

    found = detect.routes.routes(detect.runtime.SERVICE) + jobs.routes.routes(cast(Any, None))
    routes = {(route.path, route.method.lower()) for route in found}
    assert len(routes) == len(found)
    assert routes == {(path, method) for path, item in DOCUMENT["paths"].items() for method in item}


def requests(sample: Callable[[str], bytes]) -> list[tuple[str, str, str, bytes | None, str | None]]:
    photo = sample("coffee.webp")
    image = base64.b64encode(photo).decode()
    one, none = {"image": image, "landmarks": False}, {"image": "eA=="}
    json_type = "application/json"
    return [
        ("post", "/v1/detect", "/v1/detect", photo, "image/webp"),
        ("post", "/v1/detect", "/v1/detect?max_detections=1", photo, "image/webp"),
        ("post", "/v1/detect", "/v1/detect", json.dumps(one).encode(), json_type),
        ("post", "/v1/detect", "/v1/detect", b"no photo", "image/webp"),
        ("post", "/v1/detect", "/v1/detect", b"", "image/webp"),
        ("post", "/v1/detect", "/v1/detect?model=x", photo, "image/webp"),
        (
            "post",
            "/v1/detect",
            "/v1/detect",
            json.dumps({"s3": {"bucket": "b", "key": "k"}}).encode(),
            json_type,
        ),
        (
            "post",
            "/v1/detect/batch",
            "/v1/detect/batch",
            json.dumps({"images": [{"image": image}, none]}).encode(),
            json_type,
        ),
        ("post", "/v1/uploads", "/v1/uploads", b"", None),
        ("get", "/v1/results/{upload_id}", f"/v1/results/{'0' * 32}", None, None),
        ("get", "/v1/models", "/v1/models", None, None),
        ("get", "/v1/health", "/v1/health", None, None),
    ]


@pytest.mark.parametrize("number", range(12))
def test_real_answers_are_as_described(api_url: str, sample: Callable[[str], bytes], number: int) -> None:
    method, path, target, body, content_type = requests(sample)[number]
    request = urllib.request.Request(
        f"{api_url}{target}",
        body,
        {"Content-Type": content_type or "application/json"} if body is not None else {},
        method=method.upper(),
    )
    try:
        with urllib.request.urlopen(request) as answer:
            status, media_type, content = answer.status, answer.headers["Content-Type"], answer.read()
    except urllib.error.HTTPError as error:
        status, media_type, content = error.code, error.headers["Content-Type"], error.read()
    described = DOCUMENT["paths"][path][method]["responses"]
    check(described[str(status)]["content"][media_type]["schema"], json.loads(content))


def test_every_code_s_status_is_described() -> None:
    from shared.problems import _STATUSES

    described = {
        status
        for item in DOCUMENT["paths"].values()
        for operation in item.values()
        for status in operation["responses"]
    }
    # no method that is described can answer that it is not there
    assert "405" in DOCUMENT["info"]["description"]
    assert {str(status) for status in _STATUSES.values()} - {"405"} <= described
