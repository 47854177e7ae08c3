"""Lambda handler of the queue that S3 tells of uploads and removals."""

from __future__ import annotations

from typing import Any

from shared.collector import collector_paused

with collector_paused():
    from featherface import FeatherFaceError
    from ingest.events import Change, read_changes
    from ingest.runtime import settle_once
    from shared.errors import FunctionError, InvalidEventError
    from shared.observability import LOGGER, observed, record_error, record_work

__all__ = ["lambda_handler"]


@observed
def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Settle every change that a batch of messages tells of; answer with the messages that must come back."""
    record_work("messages", len(event["Records"]))
    failed = [
        {"itemIdentifier": message["messageId"]}
        for message in event["Records"]
        if not _settled(message, context)
    ]
    return {"batchItemFailures": failed}


def _settled(message: dict[str, Any], context: Any) -> bool:
    """Settle the changes of one message; False sends it back to the queue, whatever went wrong."""
    named = {"message_id": message["messageId"]}
    try:
        changes = read_changes(message["body"])
    except InvalidEventError as error:
        changes = [error]
    # Each of them, whatever became of those before: what is settled is known when the message comes back.
    settled = [_change_settled(change, named, context) for change in changes]
    return all(settled)


def _change_settled(change: Change | InvalidEventError, named: dict[str, str], context: Any) -> bool:
    try:
        if isinstance(change, InvalidEventError):
            raise change
        state = settle_once(change, context)
    except (FunctionError, FeatherFaceError) as error:
        record_error(error.code)
        LOGGER.error(
            "the message goes back to the queue",
            extra={**named, "error_code": error.code, "reason": str(error)},
        )
        return False
    except Exception:
        LOGGER.exception("the message goes back to the queue for an unforeseen reason", extra=named)
        return False
    LOGGER.info("settled", extra={**named, "kind": change.kind, "state": state})
    return True
