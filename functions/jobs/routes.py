"""The routes of bulk jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from jobs.service import JobService
from shared.bodies import read_json
from shared.errors import MediaTypeError, RequestError
from shared.http import json_answer
from shared.router import Answer, Request, Route

__all__ = ["caller", "routes"]

_MAX_KEY: Final = 255


def routes(service: JobService) -> list[Route]:
    """Return the routes of a service."""

    def start(request: Request) -> Answer:
        body = request.body
        if body.media_type != "application/json":
            raise MediaTypeError(f"Content-Type must be application/json; got {body.media_type or 'none'}")
        key = request.headers.get("idempotency-key")
        if key is not None and not 1 <= len(key) <= _MAX_KEY:
            raise RequestError(f"Idempotency-Key must have 1 to {_MAX_KEY} characters")
        made = service.start(caller(request.context), read_json(body), key)
        return json_answer(made, status=202, headers={"Location": f"/v1/jobs/{made['id']}"})

    def newest(request: Request) -> Answer:
        return json_answer(service.newest(caller(request.context), request.query.get("after")))

    def show(request: Request, job_id: str) -> Answer:
        return json_answer(service.show(caller(request.context), job_id))

    def stop(request: Request, job_id: str) -> Answer:
        service.stop(caller(request.context), job_id)
        return Answer(204, "")

    return [
        Route("POST", "/v1/jobs", start),
        Route("GET", "/v1/jobs", newest),
        Route("GET", "/v1/jobs/{job_id}", show),
        Route("DELETE", "/v1/jobs/{job_id}", stop),
    ]


def caller(context: Mapping[str, Any]) -> str:
    """Return who asks, by whatever has authenticated them: Cognito, IAM, or an API key's id."""
    authorizer = context.get("authorizer") or {}
    identity = context.get("identity") or {}
    claims = authorizer.get("claims") or {}
    iam = authorizer.get("iam") or {}
    known = (claims.get("sub"), iam.get("userArn"), identity.get("userArn"), identity.get("apiKeyId"))
    return next((str(value) for value in known if value), "anonymous")
