"""What is made once: the proved model and its session at init, all else when the first change comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from ingest.events import Change
from ingest.index import Index
from ingest.service import IngestService
from shared.clients import client
from shared.collector import collector_paused
from shared.environment import required
from shared.errors import StorageUnavailableError, UnderWayError
from shared.results import ResultStore
from shared.startup import start_detectors
from shared.storage import translated

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.idempotency import IdempotencyConfig

__all__ = ["settle_once"]

# A message lives 4 days in the queue; what comes later than a day is settled again, which changes nothing.
_REMEMBERED_SECONDS: Final = 24 * 3600

_RESULTS_BUCKET: Final = required("RESULTS_BUCKET")
_INDEX_TABLE: Final = required("INDEX_TABLE")
_IDEMPOTENCY_TABLE: Final = required("IDEMPOTENCY_TABLE")
_DETECTORS: Final = start_detectors()


def settle_once(change: Change, context: Any) -> str:
    """Settle a change, once for each kind, bucket, key, version, ETag and order; a failure may be retried.

    Parameters
    ----------
    change : Change
    context : Lambda context
        Of this invocation.

    Raises
    ------
    UnderWayError
        A duplicate of this event is being settled.
    FunctionError, FeatherFaceError
        As `IngestService.settle`; or the record against duplicates cannot be kept.
    """
    config, settle = _settler()
    # a time-out would otherwise leave the change locked until its record expires
    config.register_lambda_context(context)
    with _idempotency_translated():
        return settle(change=change)


@contextmanager
def _idempotency_translated() -> Iterator[None]:
    """Turn what Powertools says of its record into our errors: all of it is foreseen, and passes."""
    from aws_lambda_powertools.utilities.idempotency.exceptions import (
        IdempotencyAlreadyInProgressError,
        IdempotencyInconsistentStateError,
        IdempotencyPersistenceLayerError,
    )
    from botocore.exceptions import BotoCoreError, ClientError

    doing = "keeping the record against duplicates"
    try:
        yield
    except IdempotencyAlreadyInProgressError as error:
        raise UnderWayError("the same change is being settled; this message is for later") from error
    except (IdempotencyInconsistentStateError, IdempotencyPersistenceLayerError) as error:
        cause = error.__cause__
        if isinstance(cause, BotoCoreError | ClientError):
            with translated(doing):
                raise cause from None
        raise StorageUnavailableError(f"{doing}: {error}; try again") from error


@cache
def _settler() -> tuple[IdempotencyConfig, Callable[..., str]]:
    with collector_paused():
        # Imported here: clients and Powertools take longer than the model, and an init that waits for them
        # tells of a model that fails only after them.
        from aws_lambda_powertools.utilities.idempotency import (
            DynamoDBPersistenceLayer,
            IdempotencyConfig,
            idempotent_function,
        )

        dynamodb, s3 = client("dynamodb"), client("s3")
        service = IngestService(
            _DETECTORS, s3, ResultStore(s3, _RESULTS_BUCKET), Index(dynamodb, _INDEX_TABLE)
        )
        store = DynamoDBPersistenceLayer(table_name=_IDEMPOTENCY_TABLE, boto3_client=dynamodb)
        config = IdempotencyConfig(expires_after_seconds=_REMEMBERED_SECONDS)

        def settle(*, change: Change) -> str:
            return service.settle(change)

        return config, idempotent_function(
            settle, data_keyword_argument="change", persistence_store=store, config=config
        )
