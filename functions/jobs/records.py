"""Jobs on record: a row each in DynamoDB, under the caller who started it.

The row comes first: it says ``submitting`` until the backend has the job, so whatever dies in between leaves
a row by which the job is found again. Until then it also says who hands the job over: a call claims it for as
long as it may live. Beside them lie the callers' idempotency keys, which name a job each, and rows that say
whose the folders are that jobs write into: these stay, as the folders do.
"""

from __future__ import annotations

import hashlib
import time
from typing import Any, Final, Literal, NamedTuple

from shared.errors import JobNotFoundError
from shared.storage import error_code, translated

__all__ = ["JobRecord", "JobRecords", "RecordState"]

RecordState = Literal["submitting", "submitted", "failed", "cancelled"]

_PAGE: Final = 100
# Longer than a function runs (28 s in the template): whoever claimed the row is gone by then.
_CLAIM_SECONDS: Final = 30
# Sorts behind every job's id, which begins with a digit.
_KEY_PREFIX: Final = "key-"
_HOLDER: Final = "holder"
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
        How far the handing over is: how far the job is, its backend knows. ``cancelled`` with a backend's id
        was stopped after that; once the backend has forgotten it, only this tells.
    backend_id : str
        The backend's own id of it; empty until it is submitted.
    error_code : str
        Why it could not be submitted.
    claimed_until : int
        When another call may hand it over, in seconds since 1970.
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
    claimed_until: int = 0


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

    def holder(self, folder: str) -> str | None:
        """Return whose a folder of outputs is; None if it is nobody's yet."""
        try:
            return str(self._read(_folder_owner(folder), _HOLDER)["holder"]["S"])
        except JobNotFoundError:
            return None

    def hold(self, owner: str, folder: str) -> str:
        """Return whose a folder of outputs is: `owner`'s if it was nobody's."""
        if self._create({"owner": _folder_owner(folder), "id": _HOLDER, "holder": owner}):
            return owner
        return self.holder(folder) or owner

    def writes_below(self, owner: str, address: str) -> bool:
        """Return whether one of a caller's jobs on record writes below an address that ends with a slash."""
        with translated("reading the jobs' records"):
            pages = self._dynamodb.get_paginator("query").paginate(
                TableName=self._table,
                KeyConditionExpression="#owner = :owner",
                FilterExpression="begins_with(#output, :below) OR #output = :itself",
                ExpressionAttributeNames={"#owner": "owner", "#output": "output"},
                ExpressionAttributeValues={
                    ":owner": {"S": owner},
                    ":below": {"S": address},
                    ":itself": {"S": address.rstrip("/")},
                },
            )
            return any(page["Items"] for page in pages)

    def create(self, record: JobRecord) -> JobRecord | None:
        """Keep a new record, claimed; None if there is one by that id."""
        claimed = record._replace(claimed_until=_claim_end())
        return claimed if self._create(claimed._asdict()) else None

    def read(self, owner: str, job_id: str) -> JobRecord:
        """Return a caller's job; raises JobNotFoundError if it is none of theirs."""
        if job_id.startswith(_KEY_PREFIX):
            raise JobNotFoundError("you have no job by that id")
        return _record(self._read(owner, job_id))

    def claim(self, record: JobRecord) -> JobRecord | None:
        """Claim a job that is not submitted yet; None if another call has it, or it is submitted by now.

        The claim outlives any call, so two never hand the same job over, and whoever died is followed.
        """
        until = _claim_end()
        claimed = self._update(
            record,
            "SET claimed_until = :until",
            "#state = :submitting AND (attribute_not_exists(claimed_until) OR claimed_until <= :now)",
            {
                ":until": {"N": str(until)},
                ":now": {"N": str(int(time.time()))},
                ":submitting": {"S": "submitting"},
            },
        )
        return record._replace(claimed_until=until) if claimed else None

    def release(self, record: JobRecord) -> None:
        """Give a claim back, so that the next call need not wait for its end."""
        self._update(
            record,
            "SET claimed_until = :free",
            "#state = :submitting AND claimed_until = :mine",
            {
                ":free": {"N": "0"},
                ":mine": {"N": str(record.claimed_until)},
                ":submitting": {"S": "submitting"},
            },
        )

    def settle(
        self, record: JobRecord, state: RecordState, *, backend_id: str = "", reason: str = ""
    ) -> bool:
        """Say what came of handing a job over; False if somebody else has by now."""
        return self._update(
            record,
            "SET #state = :state, backend_id = :backend_id, error_code = :reason",
            "#state = :submitting",
            {
                ":state": {"S": state},
                ":backend_id": {"S": backend_id},
                ":reason": {"S": reason},
                ":submitting": {"S": "submitting"},
            },
        )

    def cancel(self, record: JobRecord) -> None:
        """Say that a job which its backend has is being stopped."""
        self._update(
            record,
            "SET #state = :state",
            "#state = :submitted",
            {":state": {"S": "cancelled"}, ":submitted": {"S": "submitted"}},
        )

    def newest(self, owner: str, after: str | None = None) -> tuple[list[JobRecord], bool]:
        """Return a caller's jobs, newest first, and whether there are older ones.

        Parameters
        ----------
        owner : str
        after : str, optional
            Only jobs that are older than the one by this id, whether it is there or not.
        """
        with translated("reading the jobs' records"):
            answer = self._dynamodb.query(
                TableName=self._table,
                KeyConditionExpression="#owner = :owner AND id < :end",
                ExpressionAttributeNames={"#owner": "owner"},
                ExpressionAttributeValues={":owner": {"S": owner}, ":end": {"S": after or _KEY_PREFIX}},
                ScanIndexForward=False,
                Limit=_PAGE,
            )
        return [_record(item) for item in answer["Items"]], "LastEvaluatedKey" in answer

    def _update(
        self, record: JobRecord, expression: str, condition: str, values: dict[str, dict[str, str]]
    ) -> bool:
        from botocore.exceptions import ClientError

        with translated("writing the job's record"):
            try:
                self._dynamodb.update_item(
                    TableName=self._table,
                    Key={"owner": {"S": record.owner}, "id": {"S": record.id}},
                    UpdateExpression=expression,
                    ConditionExpression=condition,
                    ExpressionAttributeNames={"#state": "state"},
                    ExpressionAttributeValues=values,
                )
            except ClientError as error:
                if error_code(error) == _CONDITION:
                    return False
                raise
        return True

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


def _folder_owner(folder: str) -> str:
    # a space is in no caller's name, and S3's names may be longer than a key of the table
    return f"folder {hashlib.sha256(folder.encode()).hexdigest()}"


def _claim_end() -> int:
    return int(time.time()) + _CLAIM_SECONDS


def _record(item: dict[str, Any]) -> JobRecord:
    values: dict[str, Any] = {
        name: int(value["N"]) if "N" in value else value["S"] for name, value in item.items()
    }
    return JobRecord(**values)
