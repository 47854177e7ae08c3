"""Where jobs run: a Ray cluster's job server, or AWS Batch."""

from __future__ import annotations

import json
import os
import re
import shlex
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from http import HTTPStatus
from typing import Any, Final, Literal, Protocol

from shared.clients import client
from shared.environment import required
from shared.errors import JobNotFoundError, MissingRightError, StorageUnavailableError
from shared.storage import translated

__all__ = ["AwsBatch", "Backend", "Failure", "JobState", "RayJobs", "backend_from_environment"]

JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]

Failure = Mapping[str, str]
"""Why a job failed: ``code`` and ``message``."""

_TIMEOUT_SECONDS: Final = 10
_STOPPED: Final = "stopped over the API"
_RAY_JOBS: Final = "/api/jobs/"
_BATCH_STATES: Final[Mapping[str, JobState]] = {
    "SUBMITTED": "queued",
    "PENDING": "queued",
    "RUNNABLE": "queued",
    "STARTING": "queued",
    "RUNNING": "running",
    "SUCCEEDED": "succeeded",
    "FAILED": "failed",
}
_RAY_STATES: Final[Mapping[str, JobState]] = {
    "PENDING": "queued",
    "RUNNING": "running",
    "SUCCEEDED": "succeeded",
    "FAILED": "failed",
    "STOPPED": "cancelled",
}
# How the batch command says what it ends with. Ray has the end of its log, whose rest is for the operator.
_LAST_WORDS: Final = re.compile(r"^featherface: error: (.*) \[([a-z_]+)\]$", re.MULTILINE)
_MACHINE_LOST: Final[Failure] = {"code": "machine_lost", "message": "the job's machine was taken away"}
# What AWS Batch says goes on with names of machines and images, which are the operator's, too.
_BATCH_FAILURES: Final[Mapping[str, Failure]] = {
    "OutOfMemoryError": {
        "code": "out_of_memory",
        "message": "the job's machine has too little memory for it",
    },
    "CannotPullContainer": {"code": "image", "message": "the job's image cannot be pulled"},
    "Host EC2": _MACHINE_LOST,
    # of Fargate, as infra/fargate has it tried again
    "Your Spot Task was interrupted": _MACHINE_LOST,
}
_REFUSED_STATUS: Final = 2
_REFUSED: Final[Failure] = {
    "code": "refused",
    "message": "the command refused the request: its output holds another run, or the source is none",
}


def _name(job_id: str) -> str:
    """Return the name by which a backend knows a job."""
    return f"featherface-{job_id}"


class Backend(Protocol):
    """Runs a command somewhere."""

    def submit(self, job_id: str, command: Sequence[str]) -> str:
        """Start a command and return the backend's own id of it."""

    def find(self, job_id: str) -> str | None:
        """Return the backend's own id of what was submitted for a job; None if nothing was."""

    def state(self, backend_id: str) -> JobState | None:
        """Return how far it is; None if the backend does not remember it."""

    def failure(self, backend_id: str) -> Failure | None:
        """Return why a job failed, as far as the backend knows and a caller may."""

    def stop(self, backend_id: str) -> None:
        """End it; a job that has ended already, or is not remembered, stays as it is."""


class AwsBatch:
    """AWS Batch with the batch image.

    Parameters
    ----------
    batch : boto3 client
    queue, definition : str
        Name or ARN; the definition's image has the ``featherface`` command.
    """

    def __init__(self, batch: Any, queue: str, definition: str) -> None:
        self._batch = batch
        self._queue = queue
        self._definition = definition

    def submit(self, job_id: str, command: Sequence[str]) -> str:
        """Submit a job and return its id."""
        with translated("submitting the job"):
            answer = self._batch.submit_job(
                jobName=_name(job_id),
                jobQueue=self._queue,
                jobDefinition=self._definition,
                containerOverrides={"command": list(command)},
            )
        return str(answer["jobId"])

    def find(self, job_id: str) -> str | None:
        """Return the id of the job by that name, in whichever state it is."""
        with translated("looking for the job"):
            found = self._batch.list_jobs(
                jobQueue=self._queue, filters=[{"name": "JOB_NAME", "values": [_name(job_id)]}]
            )["jobSummaryList"]
        # a filter of names does not tell capitals apart, and an emulator may know no filters
        return next((str(job["jobId"]) for job in found if job["jobName"] == _name(job_id)), None)

    def state(self, backend_id: str) -> JobState | None:
        """Return the job's state; Batch forgets jobs some days after their end."""
        job = self._look(backend_id)
        if not job:
            return None
        # Batch calls what was terminated failed
        if job["status"] == "FAILED" and job.get("statusReason") == _STOPPED:
            return "cancelled"
        return _BATCH_STATES[job["status"]]

    def failure(self, backend_id: str) -> Failure | None:
        """Return why the job failed: by the exit status, or by what Batch says of its machine."""
        job = self._look(backend_id)
        container = job.get("container", {})
        for reason in (container.get("reason", ""), job.get("statusReason", "")):
            for start, failure in _BATCH_FAILURES.items():
                if reason.startswith(start):
                    return failure
        return _REFUSED if container.get("exitCode") == _REFUSED_STATUS else None

    def stop(self, backend_id: str) -> None:
        """Cancel or terminate the job."""
        with translated("stopping the job"):
            self._batch.terminate_job(jobId=backend_id, reason=_STOPPED)

    def _look(self, backend_id: str) -> Mapping[str, Any]:
        with translated("asking for the job"):
            jobs = self._batch.describe_jobs(jobs=[backend_id])["jobs"]
        return jobs[0] if jobs else {}


class RayJobs:
    """A Ray cluster's job server, over its REST interface.

    Parameters
    ----------
    address : str
        ``https://host:port`` of the cluster's dashboard.
    token : str
        The cluster's authentication token.
    renew : callable, optional
        Returns the token as it is by now, where the server refuses the one that is known: a token may be
        replaced while a process lives.
    """

    def __init__(self, address: str, token: str, renew: Callable[[], str] | None = None) -> None:
        self._address = address.rstrip("/")
        self._token = token
        self._renew = renew

    def submit(self, job_id: str, command: Sequence[str]) -> str:
        """Submit a job and return its id."""
        # The server hands the entrypoint to a shell.
        entrypoint = shlex.join([*command, "--address", "auto"])
        answer = self._call("POST", _RAY_JOBS, {"entrypoint": entrypoint, "submission_id": _name(job_id)})
        return str(answer["submission_id"])

    def find(self, job_id: str) -> str | None:
        """Return the job's id, which is its name, if the server knows it."""
        name = _name(job_id)
        return None if self._look(name) is None else name

    def state(self, backend_id: str) -> JobState | None:
        """Return the job's state; a cluster that was made anew remembers none of the old one's jobs."""
        job = self._look(backend_id)
        return None if job is None else _RAY_STATES[str(job["status"])]

    def failure(self, backend_id: str) -> Failure | None:
        """Return why the job failed: the command's own last words, which Ray has of its log."""
        said = _LAST_WORDS.findall(str((self._look(backend_id) or {}).get("message")))
        return {"code": said[-1][1], "message": said[-1][0]} if said else None

    def stop(self, backend_id: str) -> None:
        """Ask the job to end."""
        with suppress(JobNotFoundError):
            self._call("POST", f"{_RAY_JOBS}{backend_id}/stop")

    def _look(self, backend_id: str) -> dict[str, Any] | None:
        with suppress(JobNotFoundError):
            return self._call("GET", f"{_RAY_JOBS}{backend_id}")
        return None

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        try:
            return self._call_once(method, path, body)
        except MissingRightError:
            token = None if self._renew is None else self._renew()
            if token is None or token == self._token:
                raise
            self._token = token
        return self._call_once(method, path, body)

    def _call_once(self, method: str, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self._address}{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:
                return dict(json.loads(answer.read()))
        except urllib.error.HTTPError as error:
            with error:
                if error.code == HTTPStatus.NOT_FOUND and path != _RAY_JOBS:
                    raise JobNotFoundError("the Ray job server has no such job") from error
                if error.code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
                    raise MissingRightError(f"the Ray job server refuses the token ({error.code})") from error
                raise StorageUnavailableError(
                    f"the Ray job server answered {error.code} to {method} {path}"
                ) from error
        except (OSError, ValueError) as error:
            raise StorageUnavailableError(
                f"the Ray job server cannot be reached: {type(error).__name__}"
            ) from error


@cache
def backend_from_environment() -> Backend:
    """Return the Ray cluster that ``RAY_JOBS_ADDRESS`` names, or AWS Batch if it names none.

    Raises
    ------
    SetupError
        Neither is set up.
    """
    address = os.environ.get("RAY_JOBS_ADDRESS")
    if not address:
        return AwsBatch(client("batch"), required("BATCH_JOB_QUEUE"), required("BATCH_JOB_DEFINITION"))
    return RayJobs(address, _ray_token(), _ray_token)


def _ray_token() -> str:
    with translated("reading the Ray token"):
        secret = client("secretsmanager").get_secret_value(SecretId=required("RAY_TOKEN_SECRET"))
    return str(secret["SecretString"])
