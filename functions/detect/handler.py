"""Lambda handler of the synchronous API: API Gateway REST events and Function URL events."""

from __future__ import annotations

from typing import Any, Final

from shared.collector import collector_paused

with collector_paused():
    from detect.routes import routes
    from detect.runtime import SERVICE
    from shared.http import front_door
    from shared.observability import observed, record_work
    from shared.snapshots import register_hooks

__all__ = ["lambda_handler"]

_RESOLVE: Final = front_door(routes(SERVICE))
register_hooks()


@observed
def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer one HTTP request."""
    record_work("requests")
    return _RESOLVE(event, context)
