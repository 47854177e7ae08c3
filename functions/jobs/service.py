"""The verbs of bulk jobs, free of HTTP."""

from __future__ import annotations

import json
import os
import re
import shlex
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from jobs.backends import Backend, Failure, JobState
from jobs.records import JobRecord, JobRecords
from jobs.requests import OUTPUTS, JobRequest, command_line, read_job_request
from shared.errors import (
    FunctionError,
    InvalidOptionError,
    JobConflictError,
    OutputTakenError,
    SetupError,
    StorageDeniedError,
)
from shared.storage import error_code, translated

__all__ = ["JobService"]

_KEPT_SECONDS: Final = 90 * 24 * 3600
# Longer than a function runs: whoever was submitting is gone by then.
_SUBMITTING: Final = timedelta(minutes=5)
# A submission takes a second; and a call that ran out of time has left its claim two seconds before its end.
_WAIT_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.25
_JOB_ID: Final = re.compile(r"[0-9]{8}T[0-9]{6}-[0-9a-f]{16}")
_GOING_ON: Final = frozenset({"queued", "running"})
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
    reads_uploads : bool
        Whether jobs may read what callers have uploaded.
    """

    def __init__(
        self,
        backend: Callable[[], Backend],
        records: JobRecords,
        s3: Any,
        photos_bucket: str,
        results_bucket: str,
        *,
        reads_uploads: bool = False,
    ) -> None:
        self._backend = backend
        self._records = records
        self._s3 = s3
        self._photos_bucket = photos_bucket
        self._results_bucket = results_bucket
        self._reads_uploads = reads_uploads

    def start(self, owner: str, members: Mapping[str, Any], key: str | None = None) -> dict[str, Any]:
        """Start a job, once.

        Parameters
        ----------
        owner : str
        members : mapping
            The request's JSON.
        key : str, optional
            The caller's idempotency key: the same key is the same job, however often it comes.

        Raises
        ------
        RequestError
            The request cannot be understood, or its output is another caller's.
        JobConflictError
            The key has been used for another request.
        SetupError
            The backend does not take jobs from here; this one is on record as failed.
        StorageUnavailableError
            Nobody knows whether the backend has it; `show` and the same key find out.
        """
        now = datetime.now(UTC)
        job_id, expires_at = f"{now:%Y%m%dT%H%M%S}-{os.urandom(8).hex()}", int(time.time()) + _KEPT_SECONDS
        request = self._read(members, job_id)
        if key is not None:
            known = self._records.reserve(owner, key, job_id, expires_at)
            if known != job_id:
                job_id = known
                request = self._read(members, job_id)
        self._hold(owner, request, job_id)
        record = JobRecord(
            owner=owner,
            id=job_id,
            source=request.source,
            output=request.output,
            formats=",".join(request.formats),
            command=shlex.join(command_line(request)),
            created_at=now.isoformat(timespec="seconds"),
            expires_at=expires_at,
        )
        claimed = self._records.create(record)
        if claimed is not None:
            return self._submit(claimed, again=False)
        first = self._records.read(owner, job_id)
        if first.command != record.command:
            raise JobConflictError("this idempotency key has been used for another request; take a new one")
        return self._follow(first)

    def show(self, owner: str, job_id: str) -> dict[str, Any]:
        """Return a job's state and counts; raises JobNotFoundError if it is none of the caller's."""
        record = self._found(self._records.read(owner, job_id))
        progress = self._progress(record.output)
        state: str = record.state
        if record.backend_id:
            state = self._backend().state(record.backend_id) or _ended(progress, record)
        elif state == "submitting" and _age(record) > _SUBMITTING:
            record, state = record._replace(error_code="never_submitted"), "failed"
        error = {"error_code": record.error_code} if record.error_code else {}
        failure = self._failure(record, progress) if state == "failed" else None
        told = {"failure": failure} if failure else {}
        return {**_summary(record), "state": state, **error, **told, "progress": progress}

    def _failure(self, record: JobRecord, progress: Mapping[str, Any] | None) -> Failure | None:
        """Return why a job failed, in its own words if it had any; not in those of an earlier one there."""
        told: Failure | None = (progress or {}).get("failure")
        if progress and told and _moment(progress["updated_at"]) >= _moment(record.created_at):
            return told
        return self._backend().failure(record.backend_id) if record.backend_id else None

    def newest(self, owner: str, after: str | None = None) -> dict[str, Any]:
        """Return the caller's jobs, newest first, and ``next`` if there may be older ones.

        Parameters
        ----------
        owner : str
        after : str, optional
            The ``next`` of the answer before.

        Raises
        ------
        InvalidOptionError
            It is no job's id.
        """
        if after is not None and not _JOB_ID.fullmatch(after):
            raise InvalidOptionError(f"after must be the id of a job, as next has it; got {after[:80]!r}")
        records, more = self._records.newest(owner, after)
        following = {"next": records[-1].id} if more else {}
        return {"jobs": [_summary(record) for record in records], **following}

    def stop(self, owner: str, job_id: str) -> None:
        """Stop a job; what it has written stays, and the same request goes on from there."""
        record = self._found(self._records.read(owner, job_id))
        if record.state == "submitting" and not self._records.settle(record, "cancelled"):
            # it has been submitted meanwhile
            record = self._records.read(owner, job_id)
        if not record.backend_id or self._backend().state(record.backend_id) not in _GOING_ON:
            # what has ended by itself was not stopped
            return
        # first the record: whatever dies in between, the same call stops the job once more
        self._records.cancel(record)
        self._backend().stop(record.backend_id)

    def _read(self, members: Mapping[str, Any], job_id: str) -> JobRequest:
        return read_job_request(
            members, job_id, self._photos_bucket, self._results_bucket, reads_uploads=self._reads_uploads
        )

    def _hold(self, owner: str, request: JobRequest, job_id: str) -> None:
        """Make sure that a request's output is its caller's: who names another's would see and join it."""
        folder = request.folder
        holder = self._records.holder(folder) if folder != job_id else None
        if holder is None and (folder == job_id or self._is_free(owner, folder)):
            holder = self._records.hold(owner, folder)
        if holder != owner:
            raise OutputTakenError(
                f"the folder {OUTPUTS}{folder} of the results is not yours; name another output, or none"
            )

    def _is_free(self, owner: str, folder: str) -> bool:
        """Whether a folder that nobody holds is there for a caller: empty, or of an earlier job of theirs."""
        with translated("looking for the output"):
            found = self._s3.list_objects_v2(
                Bucket=self._results_bucket, Prefix=f"{OUTPUTS}{folder}/", MaxKeys=1
            )
        own = f"s3://{self._results_bucket}/{OUTPUTS}{folder}/"
        return not found.get("Contents") or self._records.writes_below(owner, own)

    def _follow(self, record: JobRecord) -> dict[str, Any]:
        """Answer a request whose job is on record, and go on where its first call died."""
        end = time.monotonic() + _WAIT_SECONDS
        while record.state == "submitting":
            claimed = self._records.claim(record)
            if claimed is not None:
                return self._submit(claimed, again=True)
            if time.monotonic() >= end:
                break
            # the other call is at it this very moment
            time.sleep(_LOOK_SECONDS)
            record = self._records.read(record.owner, record.id)
        return _summary(record)

    def _submit(self, record: JobRecord, *, again: bool) -> dict[str, Any]:
        """Hand a claimed job over; one that another call may have handed over is looked for by its name."""
        try:
            found = self._backend().find(record.id) if again else None
            backend_id = found or self._hand_over(record)
        except Exception:
            # this call lives, so whoever comes with the same key need not wait until it cannot
            with suppress(FunctionError):
                self._records.release(record)
            raise
        if not self._records.settle(record, "submitted", backend_id=backend_id):
            now = self._records.read(record.owner, record.id)
            if now.state == "cancelled":
                self._backend().stop(backend_id)
        return _summary(record)

    def _hand_over(self, record: JobRecord) -> str:
        try:
            return self._backend().submit(record.id, shlex.split(record.command))
        except (StorageDeniedError, SetupError) as error:
            self._records.settle(record, "failed", reason=error.code)
            raise SetupError(f"the job cannot be submitted: {error}") from error

    def _found(self, record: JobRecord) -> JobRecord:
        """Return a record, put right if whoever submitted the job died before writing it down."""
        if record.state != "submitting":
            return record
        backend_id = self._backend().find(record.id)
        if backend_id is None:
            return record
        self._records.settle(record, "submitted", backend_id=backend_id)
        return self._records.read(record.owner, record.id)

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


def _ended(progress: Mapping[str, Any] | None, record: JobRecord) -> JobState:
    """Return how a job ended that its backend has forgotten: what it wrote last is what is left of it."""
    if progress and progress["state"] == "complete":
        return "succeeded"
    return "cancelled" if record.state == "cancelled" else "failed"


def _age(record: JobRecord) -> timedelta:
    return datetime.now(UTC) - _moment(record.created_at)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _summary(record: JobRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "source": record.source,
        "output": record.output,
        "formats": record.formats.split(","),
        "created_at": record.created_at,
    }
