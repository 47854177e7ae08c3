"""What is made once, at init: importing this module proves the model and makes session and clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from aws_lambda_powertools.utilities.idempotency import (
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    idempotent_function,
)

from ingest.events import Change
from ingest.index import Index
from ingest.service import IngestService
from shared.clients import client
from shared.environment import required
from shared.results import ResultStore
from shared.startup import start_detectors

__all__ = ["IDEMPOTENCY", "settle_once"]

# A message lives 4 days in the queue; what comes later than a day is settled again, which changes nothing.
IDEMPOTENCY: Final = IdempotencyConfig(expires_after_seconds=24 * 3600)

_SERVICE: Final = IngestService(
    start_detectors(),
    client("s3"),
    ResultStore(client("s3"), required("RESULTS_BUCKET")),
    Index(client("dynamodb"), required("INDEX_TABLE")),
)
_STORE: Final = DynamoDBPersistenceLayer(
    table_name=required("IDEMPOTENCY_TABLE"), boto3_client=client("dynamodb")
)


def _settle(*, change: Change) -> str:
    return _SERVICE.settle(change)


settle_once: Final[Callable[..., str]] = idempotent_function(
    _settle, data_keyword_argument="change", persistence_store=_STORE, config=IDEMPOTENCY
)
"""Settle a change, once for each kind, bucket, key, version, ETag and order; a failure may be retried."""
