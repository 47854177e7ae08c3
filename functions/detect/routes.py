"""The API's routes."""

from __future__ import annotations

from detect.requests import read_batch_request, read_request
from detect.service import DetectService
from shared.http import json_answer
from shared.router import Answer, Request, Route

__all__ = ["routes"]


def routes(service: DetectService) -> list[Route]:
    """Return the routes of a service."""

    def detect(request: Request) -> Answer:
        return json_answer(service.detect(read_request(request.body, request.query)))

    def detect_batch(request: Request) -> Answer:
        return json_answer(service.detect_batch(read_batch_request(request.body, request.query), request.id))

    # modules that only some callers need are imported by the first of them

    def create(request: Request) -> Answer:
        from detect.uploads import create_upload

        return json_answer(create_upload(service.max_image_bytes), status=201)

    def result(request: Request, upload_id: str) -> Answer:
        from detect.uploads import read_result

        return json_answer(read_result(upload_id))

    def rekognition(request: Request) -> Answer:
        from detect.rekognition import MEDIA_TYPE, answer

        target = request.headers.get("x-amz-target", "")
        found = answer(service, target, request.body, request.id)
        return Answer(found.status, found.body, MEDIA_TYPE, found.headers)

    return [
        Route("POST", "/v1/detect", detect),
        Route("POST", "/v1/detect/batch", detect_batch),
        Route("POST", "/v1/uploads", create),
        Route("GET", "/v1/results/{upload_id}", result),
        Route("GET", "/v1/models", lambda request: json_answer(service.models())),
        Route("GET", "/v1/health", lambda request: json_answer(service.health())),
        Route("POST", "/", rekognition),
    ]
