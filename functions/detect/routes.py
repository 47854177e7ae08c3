"""The API's routes."""

from __future__ import annotations

import json
from typing import Any, Final

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.api_gateway import ApiGatewayResolver

from detect.rekognition import MEDIA_TYPE as MEDIA_TYPE_AMZ
from detect.rekognition import answer
from detect.requests import Body, read_batch_request, read_request
from detect.service import DetectService
from detect.uploads import create_upload, read_result
from featherface import FeatherFaceError
from shared.errors import AnswerTooLargeError, FunctionError
from shared.observability import LOGGER, record_error
from shared.problems import INTERNAL, MEDIA_TYPE, problem, problem_of

__all__ = ["add_routes"]

# Lambda's limit of 6 MB holds for the answer as text inside of JSON, where every quote takes two bytes.
_MAX_ANSWER_BYTES: Final = 4_500_000


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
        return _json(service.detect(read_request(_body(app), _query(app))))

    @app.post("/v1/detect/batch")
    def detect_batch() -> Response[str]:
        request = read_batch_request(_body(app), _query(app))
        return _json(service.detect_batch(request, _request_id(app)))

    @app.post("/v1/uploads")
    def uploads() -> Response[str]:
        return _json(create_upload(service.max_image_bytes), status=201)

    @app.get("/v1/results/<upload_id>")
    def results(upload_id: str) -> Response[str]:
        return _json(read_result(upload_id))

    @app.get("/v1/models")
    def models() -> Response[str]:
        return _json(service.models())

    @app.get("/v1/health")
    def health() -> Response[str]:
        return _json(service.health())

    @app.post("/")
    def rekognition() -> Response[str]:
        target = app.current_event.headers.get("x-amz-target") or ""
        found = answer(service, target, _body(app).read_any(), _request_id(app))
        return Response(
            status_code=found.status, content_type=MEDIA_TYPE_AMZ, body=found.body, headers=found.headers
        )

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


def _body(app: ApiGatewayResolver) -> Body:
    event = app.current_event
    return Body(event.body, bool(event.is_base64_encoded), event.headers.get("content-type") or "")


def _query(app: ApiGatewayResolver) -> dict[str, str]:
    return app.current_event.query_string_parameters or {}


def _request_id(app: ApiGatewayResolver) -> str:
    return str(app.lambda_context.aws_request_id)


def _json(document: dict[str, Any], status: int = 200) -> Response[str]:
    body = json.dumps(document)
    if len(body) > _MAX_ANSWER_BYTES:
        raise AnswerTooLargeError(
            f"the answer has {len(body):,} bytes, {_MAX_ANSWER_BYTES:,} can be sent; "
            "ask for fewer max_detections or for no landmarks"
        )
    return Response(status_code=status, content_type="application/json", body=body)


def _problem(answer: dict[str, Any]) -> Response[str]:
    headers = {"Retry-After": "5"} if answer["status"] == 503 or answer["code"] == "result_not_found" else {}
    return Response(
        status_code=answer["status"], content_type=MEDIA_TYPE, body=json.dumps(answer), headers=headers
    )
