"""The routes of bulk jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.api_gateway import ApiGatewayResolver

from jobs.service import JobService
from shared.bodies import read_json
from shared.errors import MediaTypeError
from shared.http import add_error_answers, json_answer, request_body

__all__ = ["add_routes", "caller"]


def add_routes(app: ApiGatewayResolver, service: JobService) -> None:
    """Give a resolver the routes of bulk jobs and its answers to errors.

    Parameters
    ----------
    app : ApiGatewayResolver
        Of a REST API or a Function URL.
    service : JobService
    """

    @app.post("/v1/jobs")
    def start() -> Response[str]:
        body = request_body(app)
        if body.media_type != "application/json":
            raise MediaTypeError(f"Content-Type must be application/json; got {body.media_type or 'none'}")
        made = service.start(_caller(app), read_json(body.read()))
        return json_answer(made, status=202, headers={"Location": f"/v1/jobs/{made['id']}"})

    @app.get("/v1/jobs")
    def newest() -> Response[str]:
        return json_answer(service.newest(_caller(app)))

    @app.get("/v1/jobs/<job_id>")
    def show(job_id: str) -> Response[str]:
        return json_answer(service.show(_caller(app), job_id))

    @app.delete("/v1/jobs/<job_id>")
    def stop(job_id: str) -> Response[str]:
        service.stop(_caller(app), job_id)
        return Response(status_code=204, content_type=None, body="")

    add_error_answers(app)


def caller(context: Mapping[str, Any]) -> str:
    """Return who asks, by whatever has authenticated them: Cognito, IAM, or an API key's id."""
    authorizer = context.get("authorizer") or {}
    identity = context.get("identity") or {}
    claims = authorizer.get("claims") or {}
    iam = authorizer.get("iam") or {}
    known = (claims.get("sub"), iam.get("userArn"), identity.get("userArn"), identity.get("apiKeyId"))
    return next((str(value) for value in known if value), "anonymous")


def _caller(app: ApiGatewayResolver) -> str:
    return caller(app.current_event.raw_event.get("requestContext") or {})
