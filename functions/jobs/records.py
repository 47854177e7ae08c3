"""Jobs on record: a row each in DynamoDB, under the caller who started it."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from shared.errors import JobNotFoundError
from shared.storage import translated

__all__ = ["JobRecord", "JobRecords"]

_PAGE: Final = 100


class JobRecord(NamedTuple):
    """What is known about a job from its start.

    Parameters
    ----------
    owner : str
        Who started it; nobody else sees it.
    id : str
        Sorts by time.
    backend_id : str
        The backend's own id of it.
    source, output : str
    formats : str
        Separated by commas.
    created_at : str
        ISO 8601.
    expires_at : int
        When the row goes, in seconds since 1970; the job's output stays.
    """

    owner: str
    id: str
    backend_id: str
    source: str
    output: str
    formats: str
    created_at: str
    expires_at: int


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

    def write(self, record: JobRecord) -> None:
        """Keep a record."""
        item = {
            name: {"N": str(value)} if isinstance(value, int) else {"S": value}
            for name, value in record._asdict().items()
        }
        with translated("writing the job's record"):
            self._dynamodb.put_item(TableName=self._table, Item=item)

    def read(self, owner: str, job_id: str) -> JobRecord:
        """Return a caller's job; raises JobNotFoundError if it is none of theirs."""
        key = {"owner": {"S": owner}, "id": {"S": job_id}}
        with translated("reading the job's record"):
            item = self._dynamodb.get_item(TableName=self._table, Key=key).get("Item")
        if item is None:
            raise JobNotFoundError("you have no job by that id")
        return _record(item)

    def newest(self, owner: str) -> list[JobRecord]:
        """Return a caller's jobs, newest first, at most 100."""
        with translated("reading the jobs' records"):
            answer = self._dynamodb.query(
                TableName=self._table,
                KeyConditionExpression="#owner = :owner",
                ExpressionAttributeNames={"#owner": "owner"},
                ExpressionAttributeValues={":owner": {"S": owner}},
                ScanIndexForward=False,
                Limit=_PAGE,
            )
        return [_record(item) for item in answer["Items"]]


def _record(item: dict[str, Any]) -> JobRecord:
    values = {name: value["S"] for name, value in item.items() if "S" in value}
    return JobRecord(**values, expires_at=int(item["expires_at"]["N"]))
