"""Lambda handler of bulk jobs: API Gateway REST events and Function URL events."""

from __future__ import annotations

import os
from typing import Any, Final

from jobs.backends import backend_from_environment
from jobs.records import JobRecords
from jobs.routes import routes
from jobs.service import JobService
from shared.clients import client
from shared.environment import required
from shared.http import front_door
from shared.observability import observed, record_work

__all__ = ["lambda_handler"]

_SERVICE: Final = JobService(
    backend_from_environment,
    JobRecords(client("dynamodb"), required("JOBS_TABLE")),
    client("s3"),
    required("PHOTOS_BUCKET"),
    required("RESULTS_BUCKET"),
    reads_uploads=os.environ.get("JOBS_READ_UPLOADS") == "true",
)
_RESOLVE: Final = front_door(routes(_SERVICE))


@observed
def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer one HTTP request."""
    record_work("requests")
    return _RESOLVE(event, context)
