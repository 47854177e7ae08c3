"""Lambda handler of the queue that S3 tells of uploads and removals."""

from __future__ import annotations

from typing import Any, Final

from shared.collector import collector_paused

with collector_paused():
    from featherface import FeatherFaceError
    from ingest.events import Change, read_changes
    from ingest.runtime import settle_once
    from shared.clients import longest_call_seconds
    from shared.errors import FunctionError, InvalidEventError, UnderWayError
    from shared.observability import LOGGER, observed, record_error, record_work

__all__ = ["lambda_handler"]

# What a message may take at the worst: a service that hangs, which ends its attempt, and the analysis before.
_MESSAGE_SECONDS: Final = longest_call_seconds() + 4


@observed
def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Settle every change that a batch of messages tells of; answer with the messages that must come back."""
    record_work("messages", len(event["Records"]))
    # Last what has come back most often: if it is what ends the process, its neighbours are settled by then.
    messages = sorted(event["Records"], key=_receives)
    failed = []
    for place, message in enumerate(messages):
        # the first has all the time that there is, whatever the function's time-out
        if place and context.get_remaining_time_in_millis() < 1000 * _MESSAGE_SECONDS:
            left = messages[place:]
            LOGGER.warning("time is short: messages go back to the queue", extra={"messages": len(left)})
            failed += left
            break
        if not _settled(message, context):
            failed.append(message)
    return {"batchItemFailures": [{"itemIdentifier": message["messageId"]} for message in failed]}


def _receives(message: dict[str, Any]) -> int:
    return int(message.get("attributes", {}).get("ApproximateReceiveCount", 1))


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
    except UnderWayError as error:
        # nothing is wrong: events come twice
        LOGGER.info("already under way", extra={**named, "reason": str(error)})
        return False
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
