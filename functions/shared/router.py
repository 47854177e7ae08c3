"""HTTP between API Gateway or a Function URL and plain functions: one request in, one answer out.

Powertools' event handler would do this as well, but importing it costs a cold start as much as a fifth of
everything that detection needs (its package imports all of its resolvers and event classes), and what it adds
beyond routing needs pydantic: requests are validated and described by this API's own modules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from shared.bodies import Body

__all__ = ["Answer", "Request", "Route", "Router"]


class Request(NamedTuple):
    """One HTTP request, whichever way it came.

    Parameters
    ----------
    method, path : str
        The path without the gateway's stage.
    headers : mapping
        By name in lower case.
    query : mapping
        Of a name that is given twice, all values with commas between them, as Function URLs have it.
    body : Body
    id : str
        Finds the request in the log.
    context : mapping
        What the gateway knows about the caller.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    query: Mapping[str, str]
    body: Body
    id: str
    context: Mapping[str, Any]


class Answer(NamedTuple):
    """One HTTP answer; its body is text."""

    status: int
    body: str
    content_type: str = "application/json"
    headers: Mapping[str, str] | None = None


class Route(NamedTuple):
    """Which function answers a method and a path such as ``/v1/results/{upload_id}``."""

    method: str
    path: str
    handler: Callable[..., Answer]


class Router:
    """Answers requests by the first route that fits.

    Parameters
    ----------
    routes : iterable of Route
        A handler gets the request and the path's parameters by name.
    missing : callable
        Answers requests that no route fits; its second argument is the methods that the path has, sorted.
    failed : callable
        Answers a request whose handler raised.
    """

    def __init__(
        self,
        routes: Iterable[Route],
        missing: Callable[[Request, Sequence[str]], Answer],
        failed: Callable[[Request, Exception], Answer],
    ) -> None:
        self.routes: Final = tuple(routes)
        self._fixed = {(route.method, route.path): route.handler for route in self.routes}
        self._open = [route for route in self.routes if "{" in route.path]
        self._missing = missing
        self._failed = failed

    def __call__(self, event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        """Answer an event of a REST API or a Function URL, in the form that both take."""
        request = _read(event, str(context.aws_request_id))
        try:
            answer = self._answer(request)
        except Exception as error:
            answer = self._failed(request, error)
        media_type = {"Content-Type": answer.content_type} if answer.body else {}
        return {
            "statusCode": answer.status,
            "headers": {**media_type, **(answer.headers or {})},
            "body": answer.body,
            "isBase64Encoded": False,
        }

    def _answer(self, request: Request) -> Answer:
        handler = self._fixed.get((request.method, request.path))
        if handler is not None:
            return handler(request)
        for route in self._open:
            values = _match(route.path, request.path) if route.method == request.method else None
            if values is not None:
                return route.handler(request, **values)
        return self._missing(request, self._methods(request.path))

    def _methods(self, path: str) -> list[str]:
        return sorted({route.method for route in self.routes if _match(route.path, path) is not None})


def _match(pattern: str, path: str) -> dict[str, str] | None:
    """Return the values of a pattern's parameters, or None for a path that does not fit it."""
    names, parts = pattern.split("/"), path.split("/")
    if len(names) != len(parts):
        return None
    values = {}
    for name, part in zip(names, parts, strict=True):
        if name.startswith("{") and part:
            values[name[1:-1]] = part
        elif name != part:
            return None
    return values


def _read(event: Mapping[str, Any], request_id: str) -> Request:
    context = event.get("requestContext") or {}
    # A Function URL's events have version 2.0, a REST API's none or 1.0.
    if event.get("version") == "2.0":
        method, path = context["http"]["method"], event["rawPath"]
    else:
        method, path = event["httpMethod"], event["path"]
    headers = {str(name).lower(): str(value or "") for name, value in (event.get("headers") or {}).items()}
    body = Body(event.get("body"), bool(event.get("isBase64Encoded")), headers.get("content-type", ""))
    several = event.get("multiValueQueryStringParameters") or {}
    query = {**(event.get("queryStringParameters") or {}), **{k: ",".join(v) for k, v in several.items()}}
    return Request(method, path.rstrip("/") or "/", headers, query, body, request_id, context)
