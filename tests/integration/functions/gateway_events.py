"""HTTP requests in the shapes in which API Gateway and Function URLs hand them to a function."""

from __future__ import annotations

import base64
import json
import uuid
from typing import Any
from urllib.parse import urlencode

__all__ = ["rest_event", "url_event"]


def _body(
    body: bytes | None, json_body: Any, content_type: str | None
) -> tuple[str | None, bool, dict[str, str]]:
    if json_body is not None:
        return json.dumps(json_body), False, {"Content-Type": "application/json"}
    headers = {"Content-Type": content_type} if content_type else {}
    if body is None:
        return None, False, headers
    return base64.b64encode(body).decode(), True, headers


def rest_event(
    method: str,
    path: str,
    *,
    body: bytes | None = None,
    json_body: Any = None,
    content_type: str | None = None,
    query: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Return a request as API Gateway's REST API sends it."""
    text, encoded, own = _body(body, json_body, content_type)
    together = {**own, **(headers or {})}
    return {
        "resource": path,
        "path": path,
        "httpMethod": method,
        "headers": together,
        "multiValueHeaders": {name: [value] for name, value in together.items()},
        "queryStringParameters": query,
        "multiValueQueryStringParameters": {name: [value] for name, value in (query or {}).items()} or None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {
            "resourcePath": path,
            "httpMethod": method,
            "path": f"/live{path}",
            "stage": "live",
            "requestId": str(uuid.uuid4()),
            "identity": {"sourceIp": "127.0.0.1"},
        },
        "body": text,
        "isBase64Encoded": encoded,
    }


def url_event(
    method: str,
    path: str,
    *,
    body: bytes | None = None,
    json_body: Any = None,
    content_type: str | None = None,
    query: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Return a request as a Function URL sends it."""
    text, encoded, headers = _body(body, json_body, content_type)
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": urlencode(query or {}),
        "headers": {name.lower(): value for name, value in headers.items()},
        **({"queryStringParameters": query} if query else {}),
        "requestContext": {
            "http": {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1"},
            "requestId": str(uuid.uuid4()),
            "stage": "$default",
        },
        "body": text,
        "isBase64Encoded": encoded,
    }
