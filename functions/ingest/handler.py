"""Lambda handler of the queue that S3 tells of uploads and removals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from shared.collector import collector_paused

with collector_paused():
    from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response

    from featherface import FeatherFaceError
    from ingest.events import read_changes
    from ingest.runtime import IDEMPOTENCY, settle_once
    from shared.errors import FunctionError
    from shared.observability import LOGGER, observed, record_error, record_work

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse
    from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

__all__ = ["lambda_handler"]

# With the exception off, a batch of which every message failed is answered like any other: by its list.
_PROCESSOR: Final = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)


@observed
def lambda_handler(event: dict[str, Any], context: Any) -> PartialItemFailureResponse:
    """Settle every change that a batch of messages tells of; answer with the messages that must come back."""
    record_work("messages", len(event["Records"]))
    # a time-out would otherwise leave its changes locked until their records expire
    IDEMPOTENCY.register_lambda_context(context)
    return process_partial_response(event, settle_message, _PROCESSOR, context)


def settle_message(record: SQSRecord) -> None:
    """Settle the changes of one message; an exception sends it back to the queue."""
    message = {"message_id": record.message_id}
    try:
        for change in read_changes(record.body):
            state = settle_once(change=change)
            LOGGER.info("settled", extra={**message, "kind": change.kind, "state": state})
    except (FunctionError, FeatherFaceError) as error:
        record_error(error.code)
        LOGGER.error(
            "the message goes back to the queue",
            extra={**message, "error_code": error.code, "reason": str(error)},
        )
        raise
    except Exception:
        LOGGER.exception("the message goes back to the queue for an unforeseen reason", extra=message)
        raise
