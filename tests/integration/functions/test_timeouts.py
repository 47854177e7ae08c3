"""A service that hangs outlasts no function, and a message that ends the process costs no neighbour."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import pytest
from queue_messages import uploaded
from template_tables import template_properties

from shared.clients import client, longest_call_seconds

PHOTOS = "photos-of-the-tests"
Call = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def hanging(
    monkeypatch: pytest.MonkeyPatch, detect_handler: Callable[..., dict[str, Any]]
) -> Iterator[socket.socket]:
    """Let S3 take connections and never answer, and clients try once; gives who takes the connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        # not the client that the process keeps, and others with it; and made before anybody takes the time
        own = client.__wrapped__("s3")
        monkeypatch.setattr("detect.service.client", lambda service: own)
        yield server


def test_a_service_that_hangs_does_not_outlast_the_functions() -> None:
    config = client("s3").meta.config
    attempts = config.retries["total_max_attempts"]
    worst = attempts * (config.connect_timeout + config.read_timeout) + sum(
        2**tried for tried in range(attempts - 1)
    )
    for function in ("DetectFunction", "JobsFunction"):
        assert worst <= 0.8 * template_properties(function)["Timeout"]
    assert worst == longest_call_seconds()


def test_a_storage_that_hangs_is_told_of(hanging: socket.socket, call: Call) -> None:
    photo = {"s3": {"bucket": PHOTOS, "key": "any.jpg"}}
    start = time.monotonic()
    status, answer = call("POST", "/v1/detect", json_body=photo)
    assert (status, answer["code"]) == (503, "storage_unavailable")
    assert time.monotonic() - start < longest_call_seconds() + 1
    assert connections(hanging) == 1
    # of many photos in it, the first alone waits
    _, answer = call("POST", "/v1/detect/batch", json_body={"images": [photo] * 8})
    assert [entry["error"]["code"] for entry in answer["results"]] == ["storage_unavailable"] * 8
    assert connections(hanging) == 1


def connections(server: socket.socket) -> int:
    """Return how many have come since the last look."""
    count = 0
    server.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            server.accept()[0].close()
            count += 1
    return count


class Ending:
    """A context whose time runs out after some looks at it."""

    function_name, memory_limit_in_mb = "featherface-test", 1769
    aws_request_id = "request"
    invoked_function_arn = "arn:aws:lambda:us-east-1:000000000000:function:featherface-test"

    def __init__(self, remaining: Mapping[int, int]) -> None:
        self.settled = 0
        self._remaining = remaining

    def get_remaining_time_in_millis(self) -> int:
        return self._remaining.get(self.settled, 60_000)


@pytest.fixture
def settle(
    monkeypatch: pytest.MonkeyPatch, ingest_handler: Callable[..., Any]
) -> Callable[[Ending], list[str]]:
    """Settle changes without looking at them; returns the keys as they come."""

    def prepare(context: Ending) -> list[str]:
        keys: list[str] = []

        def settle_once(change: Any, given: Any) -> str:
            keys.append(change.key)
            context.settled += 1
            return "done"

        monkeypatch.setattr("ingest.handler.settle_once", settle_once)
        return keys

    return prepare


def batch(*receives: int) -> dict[str, Any]:
    records = []
    for number, count in enumerate(receives):
        (record,) = uploaded(PHOTOS, f"{number}.jpg")["Records"]
        records.append({**record, "attributes": {"ApproximateReceiveCount": str(count)}})
    return {"Records": records}


def test_what_has_no_time_left_goes_back_before_the_function_is_killed(
    ingest_handler: Callable[..., dict[str, Any]], settle: Callable[[Ending], list[str]]
) -> None:
    context = Ending({0: 3_000, 2: 10_000})
    keys, event = settle(context), batch(1, 1, 1, 1)
    answer = ingest_handler(event, context)
    # the first is tried however little time there is
    assert keys == ["0.jpg", "1.jpg"]
    back = [entry["itemIdentifier"] for entry in answer["batchItemFailures"]]
    assert back == [record["messageId"] for record in event["Records"][2:]]


def test_what_may_have_ended_a_process_comes_last(
    ingest_handler: Callable[..., dict[str, Any]], settle: Callable[[Ending], list[str]]
) -> None:
    context = Ending({})
    keys = settle(context)
    assert ingest_handler(batch(3, 1, 10, 1, 2), context) == {"batchItemFailures": []}
    assert keys == ["1.jpg", "3.jpg", "4.jpg", "0.jpg", "2.jpg"]
