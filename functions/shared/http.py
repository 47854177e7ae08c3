"""What the HTTP functions have in common: answers and problem details."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from featherface import FeatherFaceError
from shared.errors import AnswerTooLargeError, FunctionError
from shared.observability import LOGGER, record_error
from shared.problems import INTERNAL, MEDIA_TYPE, problem, problem_of, withheld
from shared.router import Answer, Request, Route, Router

__all__ = ["front_door", "json_answer"]

# Lambda's limit of 6 MB holds for the answer as text inside of JSON, where every quote takes two bytes.
_MAX_ANSWER_BYTES: Final = 4_500_000
# Statuses and codes after which the same request may succeed.
_RETRY_STATUS: Final = 503
_RETRY_CODE: Final = "result_not_found"


def front_door(routes: Iterable[Route]) -> Router:
    """Serve routes to a REST API and to a Function URL, with every error as problem details."""
    return Router(routes, _missing, _failed)


def json_answer(
    document: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> Answer:
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
    return Answer(status, body, headers=headers)


def _missing(request: Request, methods: Sequence[str]) -> Answer:
    if not methods:
        return _problem(problem("not_found", "the API has no such path", request.id))
    allowed = ", ".join(methods)
    detail = f"this path takes {allowed}; got {request.method[:20]}"
    answer = _problem(problem("method_not_allowed", detail, request.id))
    return answer._replace(headers={"Allow": allowed})


def _failed(request: Request, error: Exception) -> Answer:
    if isinstance(error, FunctionError | FeatherFaceError):
        record_error(error.code, withheld(error))
        answer = problem_of(error, request.id)
        if answer["status"] >= 500:
            LOGGER.error("the request failed", extra={"error_code": error.code, "reason": str(error)})
        return _problem(answer)
    record_error(INTERNAL)
    LOGGER.error("the request failed for an unforeseen reason", exc_info=error)
    detail = "the service failed for a reason of its own; its operator finds it in the log by request_id"
    return _problem(problem(INTERNAL, detail, request.id))


def _problem(answer: Mapping[str, Any]) -> Answer:
    again = answer["status"] == _RETRY_STATUS or answer["code"] == _RETRY_CODE
    headers = {"Retry-After": "5"} if again else None
    return Answer(answer["status"], json.dumps(answer), MEDIA_TYPE, headers)
