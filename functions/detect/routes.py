"""The API's routes."""

from __future__ import annotations

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.api_gateway import ApiGatewayResolver

from detect.rekognition import MEDIA_TYPE, answer
from detect.requests import read_batch_request, read_request
from detect.service import DetectService
from detect.uploads import create_upload, read_result
from shared.http import add_error_answers, json_answer, request_body, request_id, request_query

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
        return json_answer(service.detect(read_request(request_body(app), request_query(app))))

    @app.post("/v1/detect/batch")
    def detect_batch() -> Response[str]:
        request = read_batch_request(request_body(app), request_query(app))
        return json_answer(service.detect_batch(request, request_id(app)))

    @app.post("/v1/uploads")
    def uploads() -> Response[str]:
        return json_answer(create_upload(service.max_image_bytes), status=201)

    @app.get("/v1/results/<upload_id>")
    def results(upload_id: str) -> Response[str]:
        return json_answer(read_result(upload_id))

    @app.get("/v1/models")
    def models() -> Response[str]:
        return json_answer(service.models())

    @app.get("/v1/health")
    def health() -> Response[str]:
        return json_answer(service.health())

    @app.post("/")
    def rekognition() -> Response[str]:
        target = app.current_event.headers.get("x-amz-target") or ""
        found = answer(service, target, request_body(app).read_any(), request_id(app))
        return Response(
            status_code=found.status, content_type=MEDIA_TYPE, body=found.body, headers=found.headers
        )

    add_error_answers(app)
