"""The verbs of bulk jobs, free of HTTP."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from jobs.backends import Backend
from jobs.records import JobRecord, JobRecords
from jobs.requests import command_line, read_job_request
from shared.storage import error_code, translated

__all__ = ["JobService"]

_KEPT_SECONDS: Final = 90 * 24 * 3600
_MISSING: Final = frozenset({"NoSuchKey", "404", "NotFound"})


class JobService:
    """Starts, shows and stops bulk jobs.

    Parameters
    ----------
    backend : callable
        Returns where jobs run; called when a job is asked for, so that records need none.
    records : JobRecords
    s3 : boto3 client
        Reads the progress that a job writes beside its output.
    photos_bucket, results_bucket : str
    """

    def __init__(
        self,
        backend: Callable[[], Backend],
        records: JobRecords,
        s3: Any,
        photos_bucket: str,
        results_bucket: str,
    ) -> None:
        self._backend = backend
        self._records = records
        self._s3 = s3
        self._photos_bucket = photos_bucket
        self._results_bucket = results_bucket

    def start(self, owner: str, members: Mapping[str, Any]) -> dict[str, Any]:
        """Start a job; raises RequestError if the request cannot be understood."""
        now = datetime.now(UTC)
        job_id = f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(8)}"
        request = read_job_request(members, job_id, self._photos_bucket, self._results_bucket)
        record = JobRecord(
            owner=owner,
            id=job_id,
            backend_id=self._backend().submit(job_id, command_line(request)),
            source=request.source,
            output=request.output,
            formats=",".join(request.formats),
            created_at=now.isoformat(timespec="seconds"),
            expires_at=int(time.time()) + _KEPT_SECONDS,
        )
        self._records.write(record)
        return _summary(record)

    def show(self, owner: str, job_id: str) -> dict[str, Any]:
        """Return a job's state and counts; raises JobNotFoundError if it is none of the caller's."""
        record = self._records.read(owner, job_id)
        state = self._backend().state(record.backend_id)
        return {**_summary(record), "state": state, "progress": self._progress(record.output)}

    def newest(self, owner: str) -> dict[str, Any]:
        """Return the caller's jobs, newest first."""
        return {"jobs": [_summary(record) for record in self._records.newest(owner)]}

    def stop(self, owner: str, job_id: str) -> None:
        """Stop a job; what it has written stays, and the same request goes on from there."""
        self._backend().stop(self._records.read(owner, job_id).backend_id)

    def _progress(self, output: str) -> dict[str, Any] | None:
        from botocore.exceptions import ClientError

        bucket, _, prefix = output.removeprefix("s3://").partition("/")
        with translated("reading the job's progress"):
            try:
                answer = self._s3.get_object(Bucket=bucket, Key=f"{prefix}/progress.json")
            except ClientError as error:
                if error_code(error) in _MISSING:
                    return None
                raise
            progress: dict[str, Any] = json.loads(answer["Body"].read())
            return progress


def _summary(record: JobRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "source": record.source,
        "output": record.output,
        "formats": record.formats.split(","),
        "created_at": record.created_at,
    }
