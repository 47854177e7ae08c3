"""Logs and metrics hold no photos, no faces and no names of photos, whether the work succeeds or fails."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from queue_messages import uploaded

PHOTOS = "photos-of-the-tests"
SECRET = "jane-doe-at-the-clinic"


@pytest.mark.parametrize("content", ["photo", "broken", "missing"])
def test_an_upload_s_name_stays_out_of_the_logs(
    ingest_handler: Callable[..., dict[str, Any]],
    context: Any,
    s3: Any,
    sample: Callable[[str], bytes],
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    content: str,
) -> None:
    key = f"{SECRET}/{uuid.uuid4().hex}.jpg"
    if content != "missing":
        body = sample("group.jpg") if content == "photo" else b"broken"
        s3.put_object(Bucket=PHOTOS, Key=key, Body=body)
    capfd.readouterr()
    assert ingest_handler(uploaded(PHOTOS, key), context) == {"batchItemFailures": []}
    written = "".join(capfd.readouterr()) + caplog.text
    assert "settled" in written
    assert SECRET not in written
    assert "landmarks" not in written


@pytest.mark.parametrize("way", ["image", "s3"])
def test_a_call_s_photo_stays_out_of_the_logs(
    call: Callable[..., tuple[int, dict[str, Any]]],
    sample: Callable[[str], bytes],
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    way: str,
) -> None:
    image = base64.b64encode(sample("coffee.webp")).decode()
    members = {"image": image} if way == "image" else {"s3": {"bucket": PHOTOS, "key": SECRET}}
    call("POST", "/v1/detect", json_body=members)
    written = "".join(capfd.readouterr()) + caplog.text
    assert '"requests"' in written
    assert image[:40] not in written
    assert SECRET not in written
    assert "landmarks" not in written
