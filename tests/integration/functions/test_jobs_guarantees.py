"""Whatever dies between a job's record and its submission, the job is neither lost nor run twice."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from template_tables import template_table

from featherface_batch.errors import SourceError
from featherface_batch.progress import Progress
from featherface_batch.storage import LocalStorage
from jobs.backends import Failure, JobState
from jobs.records import JobRecord, JobRecords
from jobs.service import JobService
from shared.errors import (
    InvalidOptionError,
    JobConflictError,
    JobNotFoundError,
    OutputTakenError,
    RequestError,
    SetupError,
    StorageUnavailableError,
)

PHOTOS, RESULTS = "photos-of-the-tests", "results-of-the-tests"
REQUEST = {"source": f"s3://{PHOTOS}/holiday"}


class Cluster:
    """A backend that takes jobs, and fails when it is told to."""

    def __init__(self) -> None:
        self.jobs: dict[str, tuple[str, ...]] = {}
        self.stopped: list[str] = []
        self.now: JobState | None = "running"
        self.knows: Failure | None = None
        self.before: BaseException | None = None
        self.after: BaseException | None = None

    def submit(self, job_id: str, command: Sequence[str]) -> str:
        if self.before:
            raise self.before
        assert job_id not in self.jobs, "a job was submitted twice"
        self.jobs[job_id] = tuple(command)
        if self.after:
            raise self.after
        return f"backend-{job_id}"

    def find(self, job_id: str) -> str | None:
        return f"backend-{job_id}" if job_id in self.jobs else None

    def state(self, backend_id: str) -> JobState | None:
        return self.now

    def failure(self, backend_id: str) -> Failure | None:
        return self.knows

    def stop(self, backend_id: str) -> None:
        self.stopped.append(backend_id)


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def records(aws: Callable[[str], Any], deployed: None) -> JobRecords:
    table = f"jobs-{uuid.uuid4().hex}"
    aws("dynamodb").create_table(TableName=table, **template_table("JobsTable"))
    return JobRecords(aws("dynamodb"), table)


@pytest.fixture
def service(cluster: Cluster, records: JobRecords, aws: Callable[[str], Any]) -> JobService:
    return JobService(lambda: cluster, records, aws("s3"), PHOTOS, RESULTS)


def only(service: JobService) -> dict[str, Any]:
    (job,) = service.newest("alice")["jobs"]
    return service.show("alice", job["id"])


def test_a_submission_whose_answer_was_lost_is_found_again(service: JobService, cluster: Cluster) -> None:
    cluster.after = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        service.start("alice", REQUEST)
    shown = only(service)
    assert shown["state"] == "running"
    service.stop("alice", shown["id"])
    assert cluster.stopped == [f"backend-{shown['id']}"]


def test_a_death_before_the_submission_shows_and_the_key_goes_on_from_there(
    service: JobService, cluster: Cluster
) -> None:
    cluster.before = StorageUnavailableError("down")
    with pytest.raises(StorageUnavailableError):
        service.start("alice", REQUEST, "key-1")
    assert only(service)["state"] == "submitting"
    assert not cluster.jobs
    cluster.before = None
    made = service.start("alice", REQUEST, "key-1")
    assert list(cluster.jobs) == [made["id"]]
    assert only(service)["state"] == "running"


def test_what_never_was_submitted_is_failed_after_a_while(
    service: JobService, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.before = StorageUnavailableError("down")
    with pytest.raises(StorageUnavailableError):
        service.start("alice", REQUEST)

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(UTC) + timedelta(hours=1)

    monkeypatch.setattr("jobs.service.datetime", Later)
    shown = only(service)
    assert (shown["state"], shown["error_code"]) == ("failed", "never_submitted")


@pytest.mark.parametrize(
    ("written", "state"),
    [("complete", "succeeded"), ("stopped", "failed"), ("running", "failed"), (None, "failed")],
)
def test_a_job_that_its_backend_has_forgotten_ended_as_its_progress_says(
    service: JobService, cluster: Cluster, aws: Callable[[str], Any], written: str | None, state: str
) -> None:
    made = service.start("alice", REQUEST)
    if written:
        key = made["output"].removeprefix(f"s3://{RESULTS}/") + "/progress.json"
        aws("s3").put_object(Bucket=RESULTS, Key=key, Body=json.dumps({"state": written}).encode())
    cluster.now = None
    assert only(service)["state"] == state


def test_the_same_key_is_the_same_job(service: JobService, cluster: Cluster) -> None:
    first = service.start("alice", REQUEST, "key")
    again = service.start("alice", REQUEST, "key")
    assert first == again
    assert len(cluster.jobs) == 1
    assert service.start("bob", REQUEST, "key")["id"] != first["id"]
    assert service.start("alice", REQUEST)["id"] != first["id"]
    with pytest.raises(JobConflictError):
        service.start("alice", {**REQUEST, "formats": ["voc"]}, "key")
    assert len(service.newest("alice")["jobs"]) == 2


def test_a_lost_answer_and_the_same_key_submit_once(service: JobService, cluster: Cluster) -> None:
    cluster.after = StorageUnavailableError("the answer was lost")
    with pytest.raises(StorageUnavailableError):
        service.start("alice", REQUEST, "key")
    made = service.start("alice", REQUEST, "key")
    assert list(cluster.jobs) == [made["id"]]
    assert only(service)["state"] == "running"


def test_the_same_key_twice_at_once_submits_once(
    service: JobService, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.service._WAIT_SECONDS", 0.0)
    submit = cluster.submit
    second: list[dict[str, Any]] = []

    def asked_again_meanwhile(job_id: str, command: Sequence[str]) -> str:
        if not second:
            second.append({})
            second[0] = service.start("alice", REQUEST, "key")
        return submit(job_id, command)

    monkeypatch.setattr(cluster, "submit", asked_again_meanwhile)
    first = service.start("alice", REQUEST, "key")
    assert second == [first]
    assert list(cluster.jobs) == [first["id"]]
    assert only(service)["state"] == "running"


def test_whoever_waits_for_another_call_s_submission_sees_it_done(
    service: JobService, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit, entered = cluster.submit, threading.Event()

    def slowly(job_id: str, command: Sequence[str]) -> str:
        entered.set()
        time.sleep(0.6)
        return submit(job_id, command)

    monkeypatch.setattr(cluster, "submit", slowly)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(service.start, "alice", REQUEST, "key")
        assert entered.wait(10)
        again = service.start("alice", REQUEST, "key")
        # not before the job is there
        assert list(cluster.jobs) == [again["id"]]
        assert first.result() == again


class Clock:
    """Time that passes while somebody sleeps, and at no other time."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def time(self) -> float:
        return self.now

    monotonic = time

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_a_call_that_died_is_followed_when_its_claim_is_over(
    service: JobService, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    began = clock.now
    monkeypatch.setattr("jobs.records.time", clock)
    monkeypatch.setattr("jobs.service.time", clock)
    monkeypatch.setattr("jobs.records._CLAIM_SECONDS", 2)
    cluster.before = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        service.start("alice", REQUEST, "key")
    cluster.before = None
    with monkeypatch.context() as patch:
        patch.setattr("jobs.service._WAIT_SECONDS", 0.0)
        on_record = service.start("alice", REQUEST, "key")
    assert not cluster.jobs
    assert service.start("alice", REQUEST, "key") == on_record
    assert list(cluster.jobs) == [on_record["id"]]
    assert clock.now == began + 2


def test_a_backend_that_refuses_leaves_a_failed_job(service: JobService, cluster: Cluster) -> None:
    cluster.before = SetupError("no queue")
    with pytest.raises(SetupError):
        service.start("alice", REQUEST)
    shown = only(service)
    assert (shown["state"], shown["error_code"]) == ("failed", "setup")
    service.stop("alice", shown["id"])
    assert not cluster.stopped


def test_a_job_that_is_stopped_while_it_is_submitted_is_stopped(
    service: JobService, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = cluster.submit

    def stopped_meanwhile(job_id: str, command: Sequence[str]) -> str:
        service.stop("alice", job_id)
        return submit(job_id, command)

    monkeypatch.setattr(cluster, "submit", stopped_meanwhile)
    made = service.start("alice", REQUEST)
    assert cluster.stopped == [f"backend-{made['id']}"]
    assert only(service)["state"] == "cancelled"


def test_a_job_that_was_stopped_stays_so_when_its_backend_has_forgotten_it(
    service: JobService, cluster: Cluster
) -> None:
    made = service.start("alice", REQUEST)
    service.stop("alice", made["id"])
    # until it ends, it is what the backend says
    assert only(service)["state"] == "running"
    service.stop("alice", made["id"])
    assert cluster.stopped == [f"backend-{made['id']}"] * 2
    cluster.now = None
    assert only(service)["state"] == "cancelled"


@pytest.mark.parametrize(("ended", "written"), [("failed", "stopped"), ("succeeded", "complete")])
def test_stopping_what_has_ended_does_not_make_it_cancelled(
    service: JobService, cluster: Cluster, aws: Callable[[str], Any], ended: JobState, written: str
) -> None:
    made = service.start("alice", REQUEST)
    key = made["output"].removeprefix(f"s3://{RESULTS}/") + "/progress.json"
    aws("s3").put_object(Bucket=RESULTS, Key=key, Body=json.dumps({"state": written}).encode())
    cluster.now = ended
    service.stop("alice", made["id"])
    assert not cluster.stopped
    cluster.now = None
    assert only(service)["state"] == ended


def test_why_a_job_failed_is_told_as_the_job_told_it(
    service: JobService, cluster: Cluster, aws: Callable[[str], Any]
) -> None:
    made = service.start("alice", REQUEST)
    cluster.now = "failed"
    assert "failure" not in only(service)
    place = made["output"].removeprefix(f"s3://{RESULTS}/")

    class Results(LocalStorage):
        def write(self, name: str, data: bytes) -> None:
            aws("s3").put_object(Bucket=RESULTS, Key=f"{place}/{name}", Body=data)

    with pytest.raises(SourceError), Progress(Results(Path())):
        raise SourceError("s3://photos-of-the-tests/holiday/ holds no photo")
    shown = only(service)
    assert shown["failure"] == {
        "code": "source",
        "message": "s3://photos-of-the-tests/holiday/ holds no photo",
    }
    # another job that was refused there has not failed of it: what runs it knows better
    cluster.knows = {"code": "output_mismatch", "message": "holds a run that differs"}
    assert only(service)["failure"] == shown["failure"]
    time.sleep(1.1)
    later = service.start("alice", {**REQUEST, "output": made["output"]})
    assert service.show("alice", later["id"])["failure"] == cluster.knows
    # a start that is under way is not one that has failed
    cluster.now = "running"
    assert "failure" not in service.show("alice", made["id"])


def test_another_caller_s_output_is_neither_seen_nor_joined(service: JobService, cluster: Cluster) -> None:
    folder = f"s3://{RESULTS}/jobs/{uuid.uuid4().hex}"
    named = service.start("alice", {**REQUEST, "output": f"{folder}/run"})
    unnamed = service.start("alice", REQUEST)
    for output in (named["output"], folder, f"{folder}/run/below", f"{folder}/", unnamed["output"]):
        with pytest.raises(OutputTakenError, match="not yours"):
            service.start("bob", {**REQUEST, "output": output})
        assert service.start("alice", {**REQUEST, "output": output})["output"] == output.rstrip("/")
    assert not service.newest("bob")["jobs"]
    assert service.start("bob", {**REQUEST, "output": f"{folder}-too"})


def test_an_output_from_before_folders_were_held_is_its_caller_s(
    service: JobService, records: JobRecords, aws: Callable[[str], Any]
) -> None:
    folder = uuid.uuid4().hex
    output = f"s3://{RESULTS}/jobs/{folder}"
    aws("s3").put_object(Bucket=RESULTS, Key=f"jobs/{folder}/progress.json", Body=b"{}")
    row = JobRecord("alice", "20260101T000000-0", REQUEST["source"], output, "jsonl", "featherface", "", 1)
    assert records.create(row)
    with pytest.raises(OutputTakenError):
        service.start("bob", {**REQUEST, "output": output})
    assert service.start("alice", {**REQUEST, "output": output})["output"] == output


def test_uploads_are_read_only_where_the_operator_says_so(
    cluster: Cluster, service: JobService, records: JobRecords, aws: Callable[[str], Any]
) -> None:
    allowed = JobService(lambda: cluster, records, aws("s3"), PHOTOS, RESULTS, reads_uploads=True)
    for source in (f"s3://{PHOTOS}/", f"s3://{PHOTOS}/uploads/"):
        with pytest.raises(RequestError, match="every caller's uploads"):
            service.start("alice", {"source": source})
        assert allowed.start("alice", {"source": source})["source"] == source.rstrip("/")
    assert service.start("alice", {"source": f"s3://{PHOTOS}/uploads-of-2025"})


def test_more_jobs_than_a_page_are_listed_page_by_page(service: JobService, records: JobRecords) -> None:
    def row(owner: str, number: int) -> JobRecord:
        job_id = f"20260101T{number:06d}-{number:016x}"
        return JobRecord(owner, job_id, "s3://a/b", "s3://c/jobs/d", "jsonl", "featherface", "", 1)

    rows = [row("alice", number) for number in range(205)]
    for one in [*rows, row("bob", 7)]:
        assert records.create(one)
    service.start("bob", REQUEST, "key")
    found: list[str] = []
    sizes = []
    page = service.newest("alice")
    while True:
        sizes.append(len(page["jobs"]))
        found += [job["id"] for job in page["jobs"]]
        if "next" not in page:
            break
        page = service.newest("alice", page["next"])
    assert sizes == [100, 100, 5]
    assert found == [one.id for one in reversed(rows)]
    for after in ("key-1", "", "x", "20260101T000000"):
        with pytest.raises(InvalidOptionError, match="after must be"):
            service.newest("alice", after)


def test_a_key_is_no_job(service: JobService) -> None:
    service.start("alice", REQUEST, "key")
    with pytest.raises(JobNotFoundError):
        service.show("alice", "key-2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683")
