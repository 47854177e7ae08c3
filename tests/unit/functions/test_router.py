from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from shared.router import Answer, Request, Route, Router

CONTEXT = SimpleNamespace(aws_request_id="id-1")


def show(request: Request, job_id: str) -> Answer:
    return Answer(200, f"{request.method} {job_id} {request.query} {request.headers}")


def fail(request: Request) -> Answer:
    raise KeyError("secret")


ROUTER = Router(
    [
        Route("GET", "/jobs", lambda request: Answer(200, request.id)),
        Route("GET", "/jobs/{job_id}", show),
        Route("DELETE", "/jobs/{job_id}", lambda request, job_id: Answer(204, "")),
        Route("POST", "/fail", fail),
    ],
    missing=lambda request, methods: Answer(405 if methods else 404, ", ".join(methods)),
    failed=lambda request, error: Answer(500, type(error).__name__, headers={"Retry-After": "5"}),
)


def rest(method: str, path: str, **more: Any) -> dict[str, Any]:
    return ROUTER({"httpMethod": method, "path": path, "requestContext": {}, **more}, CONTEXT)


def url(method: str, path: str, **more: Any) -> dict[str, Any]:
    context = {"http": {"method": method}}
    return ROUTER({"version": "2.0", "rawPath": path, "requestContext": context, **more}, CONTEXT)


@pytest.mark.parametrize("send", [rest, url])
def test_both_shapes_reach_the_same_routes(send: Any) -> None:
    assert send("GET", "/jobs")["body"] == "id-1"
    assert send("GET", "/jobs/")["body"] == "id-1"
    more = {"queryStringParameters": {"a": "b"}, "headers": {"X-Y": "Z"}}
    assert send("GET", "/jobs/7", **more)["body"] == "GET 7 {'a': 'b'} {'x-y': 'Z'}"
    assert send("GET", "/jobs/7", queryStringParameters=None, headers=None)["statusCode"] == 200


def test_a_name_given_twice_reads_the_same_from_both_shapes() -> None:
    of_a_rest_api = {
        "queryStringParameters": {"a": "2", "b": "3"},
        "multiValueQueryStringParameters": {"a": ["1", "2"], "b": ["3"]},
    }
    of_a_url = {"queryStringParameters": {"a": "1,2", "b": "3"}}
    assert rest("GET", "/jobs/7", **of_a_rest_api)["body"] == url("GET", "/jobs/7", **of_a_url)["body"]


@pytest.mark.parametrize("path", ["/", "", "/nothing", "/jobs/1/2", "//jobs", "/jobs//", "/JOBS"])
def test_a_path_that_fits_no_route_is_missing(path: str) -> None:
    answer = rest("GET", path)
    # one slash at the end more or less is the same path
    assert answer["statusCode"] == (200 if path == "/jobs//" else 404)


def test_a_method_that_a_path_does_not_have_is_told_from_a_path_that_is_not_there() -> None:
    assert (rest("POST", "/jobs")["statusCode"], rest("POST", "/jobs")["body"]) == (405, "GET")
    assert (rest("PUT", "/jobs/7")["statusCode"], rest("PUT", "/jobs/7")["body"]) == (405, "DELETE, GET")
    assert (rest("PUT", "/nothing")["statusCode"], rest("PUT", "/nothing")["body"]) == (404, "")


def test_an_answer_without_a_body_has_no_type() -> None:
    expected = {"statusCode": 204, "headers": {}, "body": "", "isBase64Encoded": False}
    assert rest("DELETE", "/jobs/7") == expected


def test_an_error_is_answered() -> None:
    answer = rest("POST", "/fail")
    assert (answer["statusCode"], answer["body"]) == (500, "KeyError")
    assert answer["headers"] == {"Content-Type": "application/json", "Retry-After": "5"}
