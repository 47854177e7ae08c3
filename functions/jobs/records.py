"""Jobs on record: a row each in DynamoDB, under the caller who started it.

The row comes first: it says ``submitting`` until the backend has the job, so whatever dies in between leaves
a row by which the job is found again. Beside them lie the callers' idempotency keys, which name a job each.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final, Literal, NamedTuple

from shared.errors import JobNotFoundError
from shared.storage import error_code, translated

__all__ = ["JobRecord", "JobRecords", "RecordState"]

RecordState = Literal["submitting", "submitted", "failed", "cancelled"]

_PAGE: Final = 100
# Sorts behind every job's id, which begins with a digit.
_KEY_PREFIX: Final = "key-"
_CONDITION: Final = "ConditionalCheckFailedException"


class JobRecord(NamedTuple):
    """What is known about a job.

    Parameters
    ----------
    owner : str
        Who started it; nobody else sees it.
    id : str
        Sorts by time.
    source, output : str
    formats : str
        Separated by commas.
    command : str
        What runs, as a shell would read it.
    created_at : str
        ISO 8601.
    expires_at : int
        When the row goes, in seconds since 1970; the job's output stays.
    state : {"submitting", "submitted", "failed", "cancelled"}
        How far the handing over is: how far the job is, its backend knows.
    backend_id : str
        The backend's own id of it; empty until it is submitted.
    error_code : str
        Why it could not be submitted.
    """

    owner: str
    id: str
    source: str
    output: str
    formats: str
    command: str
    created_at: str
    expires_at: int
    state: RecordState = "submitting"
    backend_id: str = ""
    error_code: str = ""


class JobRecords:
    """Reads and writes rows.

    Parameters
    ----------
    dynamodb : boto3 client
    table : str
        Keys: ``owner``, ``id``.
    """

    def __init__(self, dynamodb: Any, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def reserve(self, owner: str, key: str, job_id: str, expires_at: int) -> str:
        """Return the id of the job that a caller's idempotency key stands for: `job_id` if the key is new."""
        row_id = _KEY_PREFIX + hashlib.sha256(key.encode()).hexdigest()
        if self._create({"owner": owner, "id": row_id, "job": job_id, "expires_at": expires_at}):
            return job_id
        return str(self._read(owner, row_id)["job"]["S"])

    def create(self, record: JobRecord) -> bool:
        """Keep a new record; False if there is one by that id."""
        return self._create(record._asdict())

    def read(self, owner: str, job_id: str) -> JobRecord:
        """Return a caller's job; raises JobNotFoundError if it is none of theirs."""
        if job_id.startswith(_KEY_PREFIX):
            raise JobNotFoundError("you have no job by that id")
        return _record(self._read(owner, job_id))

    def settle(
        self, record: JobRecord, state: RecordState, *, backend_id: str = "", reason: str = ""
    ) -> bool:
        """Say what came of handing a job over; False if somebody else has by now."""
        from botocore.exceptions import ClientError

        with translated("writing the job's record"):
            try:
                self._dynamodb.update_item(
                    TableName=self._table,
                    Key={"owner": {"S": record.owner}, "id": {"S": record.id}},
                    UpdateExpression="SET #state = :state, backend_id = :backend_id, error_code = :reason",
                    ConditionExpression="#state = :submitting",
                    ExpressionAttributeNames={"#state": "state"},
                    ExpressionAttributeValues={
                        ":state": {"S": state},
                        ":backend_id": {"S": backend_id},
                        ":reason": {"S": reason},
                        ":submitting": {"S": "submitting"},
                    },
                )
            except ClientError as error:
                if error_code(error) == _CONDITION:
                    return False
                raise
        return True

    def newest(self, owner: str) -> list[JobRecord]:
        """Return a caller's jobs, newest first, at most 100."""
        with translated("reading the jobs' records"):
            answer = self._dynamodb.query(
                TableName=self._table,
                KeyConditionExpression="#owner = :owner AND id < :keys",
                ExpressionAttributeNames={"#owner": "owner"},
                ExpressionAttributeValues={":owner": {"S": owner}, ":keys": {"S": _KEY_PREFIX}},
                ScanIndexForward=False,
                Limit=_PAGE,
            )
        return [_record(item) for item in answer["Items"]]

    def _create(self, row: dict[str, Any]) -> bool:
        from botocore.exceptions import ClientError

        item = {
            name: {"N": str(value)} if isinstance(value, int) else {"S": value} for name, value in row.items()
        }
        with translated("writing the job's record"):
            try:
                self._dynamodb.put_item(
                    TableName=self._table, Item=item, ConditionExpression="attribute_not_exists(id)"
                )
            except ClientError as error:
                if error_code(error) == _CONDITION:
                    return False
                raise
        return True

    def _read(self, owner: str, row_id: str) -> dict[str, Any]:
        key = {"owner": {"S": owner}, "id": {"S": row_id}}
        with translated("reading the job's record"):
            answer = self._dynamodb.get_item(TableName=self._table, Key=key, ConsistentRead=True)
        if "Item" not in answer:
            raise JobNotFoundError("you have no job by that id")
        return dict(answer["Item"])


def _record(item: dict[str, Any]) -> JobRecord:
    values = {name: value["S"] for name, value in item.items() if "S" in value}
    return JobRecord(**values, expires_at=int(item["expires_at"]["N"]))
