"""Lambda handler of bulk jobs: API Gateway REST events and Function URL events."""

from __future__ import annotations

from typing import Any, Final

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobs.backends import backend_from_environment
from jobs.records import JobRecords
from jobs.routes import add_routes
from jobs.service import JobService
from shared.clients import client
from shared.environment import required
from shared.http import front_door
from shared.observability import LOGGER, METRICS, record_work

__all__ = ["lambda_handler"]

_SERVICE: Final = JobService(
    backend_from_environment,
    JobRecords(client("dynamodb"), required("JOBS_TABLE")),
    client("s3"),
    required("PHOTOS_BUCKET"),
    required("RESULTS_BUCKET"),
)
_RESOLVE: Final = front_door(lambda app: add_routes(app, _SERVICE))


@LOGGER.inject_lambda_context(correlation_id_path="requestContext.requestId", clear_state=True)
@METRICS.log_metrics(capture_cold_start_metric=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer one HTTP request."""
    record_work("Requests")
    return _RESOLVE(event, context)
