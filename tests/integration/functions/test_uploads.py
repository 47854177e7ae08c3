from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from queue_messages import uploaded
from urllib3.filepost import encode_multipart_formdata

from featherface import Detector

Call = Callable[..., tuple[int, dict[str, Any]]]


def send(upload: dict[str, Any], content: bytes) -> int:
    """Send a photo as a browser's form would."""
    body, content_type = encode_multipart_formdata({**upload["fields"], "file": ("photo", content)})
    request = urllib.request.Request(
        upload["url"], body, {"Content-Type": content_type}, method=upload["method"]
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.parametrize("name", ["group.jpg", None])
def test_an_upload_s_result_can_be_asked_for(
    call: Call,
    ingest_handler: Callable[..., dict[str, Any]],
    context: Any,
    reference: Detector,
    sample: Callable[[str], bytes],
    name: str | None,
) -> None:
    status, made = call("POST", "/v1/uploads")
    assert status == 201
    early, answer = call("GET", made["result"])
    assert (early, answer["code"]) == (404, "result_not_found")

    content = sample(name) if name else b"no photo"
    assert send(made["upload"], content) in (200, 204)
    ingest_handler(uploaded("photos-of-the-tests", made["upload"]["fields"]["key"]), context)

    status, answer = call("GET", f"/v1/results/{made['id']}")
    assert status == 200
    if name:
        expected = reference.detect(content).to_dict()
        assert {member: answer[member] for member in expected} == expected
    else:
        assert answer["error"]["code"] == "unsupported_format"


def test_what_is_signed_binds_the_upload(call: Call) -> None:
    # the emulator does not hold uploads to what was signed, so what was signed is looked at
    _, made = call("POST", "/v1/uploads")
    conditions = json.loads(base64.b64decode(made["upload"]["fields"]["policy"]))["conditions"]
    assert made["max_bytes"] == 3_000_000
    assert ["content-length-range", 1, 3_000_000] in conditions
    assert {"key": f"uploads/{made['id']}"} in conditions
    assert {"bucket": "photos-of-the-tests"} in conditions


@pytest.mark.parametrize("upload_id", ["0" * 32, "..", "A" * 32, "0" * 31, "x", "%2e%2e%2fsecret"])
def test_an_unknown_id_says_nothing_about_others(call: Call, upload_id: str) -> None:
    status, answer = call("GET", f"/v1/results/{upload_id}")
    assert (status, answer["code"]) in ((404, "result_not_found"), (404, "not_found"))
