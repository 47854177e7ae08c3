"""The index: one row a photo in DynamoDB, which says what its newest known state is and what came of it.

======================  ==============================================================================
``photo``               partition key: ``<bucket>/<key>``
``bucket``, ``key``     of the photo
``change_order``        of the newest change (`Change.order`)
``kind``                its kind: ``created``, ``removed``, ``version_removed``
``version_id, etag``    of the photo that was analysed or could not be; until then, as the change says
``state``               ``pending``, ``done``, ``failed``, ``removed``
``result_key``          of the object in the results bucket, for ``done`` and ``failed``
``error_code``          for ``failed``
``faces``               number of faces, for ``done``
``processed_at``        when the state was settled, ISO 8601; range key of the index ``by_day``
``day``                 its date; partition key of the index ``by_day``
``expires_at``          seconds since 1970; rows of removed photos go some time after the events that
                        might still arrive late
======================  ==============================================================================
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple

from ingest.events import Change, Kind
from shared.photos import StoredPhoto
from shared.storage import error_code, translated

__all__ = ["Index", "Outcome", "Row", "State"]

State = Literal["pending", "done", "failed", "removed"]

# An event stays in the queue for 4 days and in the dead-letter queue for 14 days.
_TOMBSTONE_SECONDS: Final = 30 * 24 * 3600


class Row(NamedTuple):
    """A photo's row, as far as settling needs it."""

    change: Change
    state: State


class Outcome(NamedTuple):
    """What came of a photo.

    Parameters
    ----------
    state : {"done", "failed", "removed"}
    result_key : str, optional
        Of its object in the results bucket.
    error_code : str, optional
        For ``failed``.
    faces : int, optional
        For ``done``.
    photo : StoredPhoto, optional
        The state of it that the result is of, for ``done`` and ``failed``: with a version gone, not the one
        that the change names.
    """

    state: State
    result_key: str | None = None
    error_code: str | None = None
    faces: int | None = None
    photo: StoredPhoto | None = None


class Index:
    """Reads and writes rows; every write is conditional on the order of changes.

    Parameters
    ----------
    dynamodb : boto3 client
    table : str
    """

    def __init__(self, dynamodb: Any, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def claim(self, change: Change) -> None:
        """Make a change its photo's newest known state, unless a newer or the same is known."""
        values = {
            "bucket": change.bucket,
            "key": change.key,
            "change_order": change.order,
            "kind": change.kind,
            "version_id": change.version_id,
            "etag": change.etag,
            "state": "pending",
        }
        self._update(
            change,
            values,
            remove=("result_key", "error_code", "faces", "processed_at", "day", "expires_at"),
            condition="attribute_not_exists(photo) OR change_order < :change_order",
        )

    def read(self, bucket: str, key: str) -> Row:
        """Return a photo's row as it is now, not as it was a moment ago."""
        with translated("reading the index"):
            answer = self._dynamodb.get_item(
                TableName=self._table, Key={"photo": {"S": f"{bucket}/{key}"}}, ConsistentRead=True
            )
        item = {name: value.get("S") for name, value in answer["Item"].items()}
        kind: Kind = item["kind"]
        change = Change(kind, bucket, key, item.get("version_id"), item.get("etag"), item["change_order"])
        return Row(change, item["state"])

    def settle(self, change: Change, outcome: Outcome) -> bool:
        """Record what came of a change; False if a newer change is known by now."""
        now = datetime.now(UTC)
        values = {
            "change_order": change.order,
            "state": outcome.state,
            "result_key": outcome.result_key,
            "error_code": outcome.error_code,
            "faces": outcome.faces,
            "processed_at": now.isoformat(timespec="milliseconds"),
            "day": now.date().isoformat(),
            "expires_at": int(time.time()) + _TOMBSTONE_SECONDS if outcome.state == "removed" else None,
        }
        if outcome.photo:
            values |= {"version_id": outcome.photo.version_id, "etag": outcome.photo.etag}
        return self._update(change, values, remove=(), condition="change_order = :change_order")

    def _update(
        self, change: Change, values: dict[str, Any], *, remove: tuple[str, ...], condition: str
    ) -> bool:
        from botocore.exceptions import ClientError

        known = {name: value for name, value in values.items() if value is not None}
        gone = [*remove, *(name for name, value in values.items() if value is None)]
        expression = "SET " + ", ".join(f"#{name} = :{name}" for name in known)
        if gone:
            expression += " REMOVE " + ", ".join(f"#{name}" for name in gone)
        with translated("writing the index"):
            try:
                self._dynamodb.update_item(
                    TableName=self._table,
                    Key={"photo": {"S": f"{change.bucket}/{change.key}"}},
                    UpdateExpression=expression,
                    ConditionExpression=condition,
                    # names by way of "#", because some of them are words of DynamoDB's language
                    ExpressionAttributeNames={f"#{name}": name for name in [*known, *gone]},
                    ExpressionAttributeValues={
                        f":{name}": {"N": str(value)} if isinstance(value, int) else {"S": value}
                        for name, value in known.items()
                    },
                )
            except ClientError as error:
                if error_code(error) == "ConditionalCheckFailedException":
                    return False
                raise
        return True
