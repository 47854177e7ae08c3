"""The API's routes."""

from __future__ import annotations

import json
from typing import Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.api_gateway import ApiGatewayResolver

from detect.requests import read_request
from detect.service import DetectService
from featherface import FeatherFaceError
from shared.errors import FunctionError
from shared.observability import LOGGER, record_error
from shared.problems import INTERNAL, MEDIA_TYPE, problem, problem_of

__all__ = ["add_routes"]


def add_routes(app: ApiGatewayResolver, service: DetectService) -> None:
    """Give a resolver the API's routes and its answers to errors.

    Parameters
    ----------
    app : ApiGatewayResolver
        Of a REST API or a Function URL.
    service : DetectService
    """

    @app.post("/v1/detect")
    def detect() -> Response[str]:
        event = app.current_event
        request = read_request(
            event.body,
            bool(event.is_base64_encoded),
            event.headers.get("content-type") or "",
            event.query_string_parameters or {},
        )
        return _json(service.detect(request))

    @app.get("/v1/health")
    def health() -> Response[str]:
        return _json(service.health())

    add_error_answers(app)


def add_error_answers(app: ApiGatewayResolver) -> None:
    """Make a resolver answer every error with problem details."""

    @app.not_found
    def not_found(_error: Exception) -> Response[str]:
        return _problem(problem("not_found", "the API has no such path or method", _request_id(app)))

    def coded(error: FunctionError | FeatherFaceError) -> Response[str]:
        record_error(error.code)
        answer = problem_of(error, _request_id(app))
        if answer["status"] >= 500:
            LOGGER.error("the request failed", extra={"error_code": error.code, "reason": str(error)})
        return _problem(answer)

    def unforeseen(error: Exception) -> Response[str]:
        record_error(INTERNAL)
        LOGGER.exception("the request failed for an unforeseen reason", exc_info=error)
        detail = "the service failed for a reason of its own; its operator finds it in the log by request_id"
        return _problem(problem(INTERNAL, detail, _request_id(app)))

    app.exception_handler([FunctionError, FeatherFaceError])(coded)
    app.exception_handler(Exception)(unforeseen)


def _request_id(app: ApiGatewayResolver) -> str:
    return str(app.lambda_context.aws_request_id)


def _json(answer: dict[str, Any]) -> Response[str]:
    return Response(status_code=200, content_type="application/json", body=json.dumps(answer))


def _problem(answer: dict[str, Any]) -> Response[str]:
    headers = {"Retry-After": "5"} if answer["status"] == 503 else {}
    return Response(
        status_code=answer["status"], content_type=MEDIA_TYPE, body=json.dumps(answer), headers=headers
    )
