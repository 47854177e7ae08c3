"""What the HTTP functions have in common: reading requests, answers, problem details."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from aws_lambda_powertools.event_handler import APIGatewayRestResolver, LambdaFunctionUrlResolver, Response
from aws_lambda_powertools.event_handler.api_gateway import ApiGatewayResolver
from aws_lambda_powertools.utilities.typing import LambdaContext

from featherface import FeatherFaceError
from shared.bodies import Body
from shared.errors import AnswerTooLargeError, FunctionError
from shared.observability import LOGGER, record_error
from shared.problems import INTERNAL, MEDIA_TYPE, problem, problem_of

__all__ = ["add_error_answers", "front_door", "json_answer", "request_body", "request_id", "request_query"]

# Lambda's limit of 6 MB holds for the answer as text inside of JSON, where every quote takes two bytes.
_MAX_ANSWER_BYTES: Final = 4_500_000
# Statuses and codes after which the same request may succeed.
_RETRY_STATUS: Final = 503
_RETRY_CODE: Final = "result_not_found"


def front_door(
    add_routes: Callable[[ApiGatewayResolver], None],
) -> Callable[[dict[str, Any], LambdaContext], dict[str, Any]]:
    """Serve the same routes to a REST API and to a Function URL.

    Parameters
    ----------
    add_routes : callable
        Gives a resolver its routes.

    Returns
    -------
    callable
        From an event of either and its context to the answer.
    """
    rest, url = APIGatewayRestResolver(), LambdaFunctionUrlResolver()
    add_routes(rest)
    add_routes(url)

    def resolve(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
        # a Function URL's events have version 2.0, a REST API's none or 1.0
        return (url if event.get("version") == "2.0" else rest).resolve(event, context)

    return resolve


def request_body(app: ApiGatewayResolver) -> Body:
    """Return the current request's body."""
    event = app.current_event
    return Body(event.body, bool(event.is_base64_encoded), event.headers.get("content-type") or "")


def request_query(app: ApiGatewayResolver) -> dict[str, str]:
    """Return the current request's query string."""
    return app.current_event.query_string_parameters or {}


def request_id(app: ApiGatewayResolver) -> str:
    """Return the id that finds the current request in the log."""
    return str(app.lambda_context.aws_request_id)


def json_answer(
    document: Mapping[str, Any], status: int = 200, headers: dict[str, str] | None = None
) -> Response[str]:
    """Return a document as an answer.

    Raises
    ------
    AnswerTooLargeError
        It has more bytes than Lambda can send.
    """
    body = json.dumps(document)
    if len(body) > _MAX_ANSWER_BYTES:
        raise AnswerTooLargeError(
            f"the answer has {len(body):,} bytes, {_MAX_ANSWER_BYTES:,} can be sent; "
            "ask for fewer max_detections or for no landmarks"
        )
    return Response(status_code=status, content_type="application/json", body=body, headers=headers)


def add_error_answers(app: ApiGatewayResolver) -> None:
    """Make a resolver answer every error with problem details."""

    @app.not_found
    def not_found(_error: Exception) -> Response[str]:
        return _problem(problem("not_found", "the API has no such path or method", request_id(app)))

    def coded(error: FunctionError | FeatherFaceError) -> Response[str]:
        record_error(error.code)
        answer = problem_of(error, request_id(app))
        if answer["status"] >= 500:
            LOGGER.error("the request failed", extra={"error_code": error.code, "reason": str(error)})
        return _problem(answer)

    def unforeseen(error: Exception) -> Response[str]:
        record_error(INTERNAL)
        LOGGER.exception("the request failed for an unforeseen reason", exc_info=error)
        detail = "the service failed for a reason of its own; its operator finds it in the log by request_id"
        return _problem(problem(INTERNAL, detail, request_id(app)))

    app.exception_handler([FunctionError, FeatherFaceError])(coded)
    app.exception_handler(Exception)(unforeseen)


def _problem(answer: dict[str, Any]) -> Response[str]:
    again = answer["status"] == _RETRY_STATUS or answer["code"] == _RETRY_CODE
    return Response(
        status_code=answer["status"],
        content_type=MEDIA_TYPE,
        body=json.dumps(answer),
        headers={"Retry-After": "5"} if again else {},
    )
