"""Lambda handler of the synchronous API: API Gateway REST events and Function URL events."""

from __future__ import annotations

from typing import Any, Final

from aws_lambda_powertools.event_handler import APIGatewayRestResolver, LambdaFunctionUrlResolver
from aws_lambda_powertools.utilities.typing import LambdaContext

from detect.routes import add_routes
from detect.runtime import SERVICE
from shared.observability import LOGGER, METRICS, record_work

__all__ = ["lambda_handler"]

_REST: Final = APIGatewayRestResolver()
_URL: Final = LambdaFunctionUrlResolver()
add_routes(_REST, SERVICE)
add_routes(_URL, SERVICE)


@LOGGER.inject_lambda_context(correlation_id_path="requestContext.requestId", clear_state=True)
@METRICS.log_metrics(capture_cold_start_metric=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer one HTTP request."""
    record_work("Requests")
    # a Function URL's events have version 2.0, a REST API's none or 1.0
    resolver = _URL if event.get("version") == "2.0" else _REST
    return resolver.resolve(event, context)
