"""The progress tells how far a run is, and never ends one."""

import json
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from featherface import ProviderError
from featherface_batch.cli import _told
from featherface_batch.errors import RunInUseError, SourceError, StorageError, TooManyErrorsError
from featherface_batch.job import JobSummary
from featherface_batch.progress import PROGRESS_NAME, Progress
from featherface_batch.records import Tally
from featherface_batch.storage import LocalStorage


class FailingStorage(LocalStorage):
    """A storage that is away."""

    def write(self, name: str, data: bytes) -> None:
        raise StorageError(f"{name} cannot be written: SlowDown")


def test_a_storage_that_is_away_for_a_while_costs_no_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), Progress(FailingStorage(tmp_path)) as progress:
        progress.running(2, Tally())
        progress.add(Tally(1, 0, 3))
        progress.writing()
    assert progress.tally == Tally(1, 0, 3)
    assert "the progress could not be written: progress.json cannot be written: SlowDown" in caplog.text


def test_the_file_says_how_a_run_ended(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)

    def state() -> str:
        return str(written(storage)["state"])

    def fail() -> None:
        with Progress(storage) as progress:
            progress.running(2, Tally())
            raise StorageError("away")

    with Progress(storage) as progress:
        assert state() == "listing"
        progress.running(2, Tally())
        assert state() == "running"
        progress.writing()
        assert state() == "writing"
    assert state() == "complete"
    with pytest.raises(StorageError, match="away"):
        fail()
    assert state() == "stopped"


def test_while_photos_are_listed_their_counts_are_unknown(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    storage.write(PROGRESS_NAME, b'{"state": "complete", "photos": 2}')
    with Progress(storage) as progress:
        listing = written(storage)
        assert listing["state"] == "listing"
        assert {listing[name] for name in ("photos", "done", "errors", "seconds_left")} == {None}
        progress.running(5, Tally(2, 1, 7))
        running = written(storage)
    assert (running["photos"], running["done"], running["errors"]) == (5, 2, 1)


def test_a_source_that_cannot_be_listed_leaves_nothing_but_the_reason(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    with pytest.raises(SourceError), Progress(storage):
        raise SourceError("s3://typo is not there")
    assert list(storage.names("")) == [PROGRESS_NAME]
    told = written(storage)
    assert (told["state"], told["photos"]) == ("stopped", None)
    assert told["failure"] == {"code": "source", "message": "s3://typo is not there"}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TooManyErrorsError("3 of 9"), "too_many_errors"),
        (ProviderError("no GPU"), "provider"),
        (ValueError("/home/jane"), "unforeseen"),
        (KeyboardInterrupt(), None),
    ],
)
def test_the_file_says_why_a_run_stopped_until_it_goes_on(
    tmp_path: Path, error: BaseException, code: str | None
) -> None:
    storage = LocalStorage(tmp_path)

    def fail() -> None:
        with Progress(storage):
            raise error

    with pytest.raises(type(error)):
        fail()
    assert (written(storage).get("failure") or {}).get("code") == code
    assert "jane" not in storage.read(PROGRESS_NAME).decode()
    with Progress(storage):
        assert "failure" not in written(storage)
    assert "failure" not in written(storage)


def test_the_progress_moves_though_no_shard_ends(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    storage = LocalStorage(tmp_path)
    with caplog.at_level(logging.INFO), Progress(storage, every=0.05) as progress:
        moves(storage)
        progress.running(3, Tally())
        moves(storage)
        progress.add(Tally(1, 0, 4))
        eventually(lambda: written(storage)["done"] == 1)
        progress.writing()
        moves(storage)
        # the file has been written apart from the lines since a shard ended
        eventually(lambda: any(record.message.startswith("writing ") for record in caplog.records))
    lines = [record.message for record in caplog.records]
    for start in ("listing, ", "0 of 3 photos, 0 errors, ", "1 of 3 photos, 0 errors, ", "writing "):
        assert any(line.startswith(start) for line in lines), start


def test_lines_say_what_the_run_waits_for_and_the_file_a_state_that_others_know(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = LocalStorage(tmp_path)
    now = time.time()
    # lines come by the real one, and say this
    clock = SimpleNamespace(
        time=lambda: now, monotonic=time.monotonic, strftime=time.strftime, gmtime=time.gmtime
    )
    monkeypatch.setattr("featherface_batch.progress.time", clock)
    with caplog.at_level(logging.INFO), Progress(storage, every=0.05) as progress:
        now += 100
        progress.doing("starting Ray")
        eventually(lambda: any(record.message.startswith("starting Ray, 0 s") for record in caplog.records))
        assert written(storage)["state"] == "listing"
        progress.running(1, Tally())
        progress.add(Tally(1, 1, 0))
    assert caplog.records[-1].message.startswith("1 of 1 photo, 1 error, ")


@pytest.mark.parametrize(
    ("summary", "line"),
    [
        ((13, 4, 40, 13, 10.0), "13 photos: 40 faces, 4 errors; 13 of them annotated now, 1.3 photos/s."),
        ((1, 1, 0, 1, 2.0), "1 photo: 0 faces, 1 error; 1 of them annotated now, 0.5 photos/s."),
        ((1200, 0, 1, 0, 0.0), "1,200 photos: 1 face, 0 errors; none was left to annotate, "),
    ],
)
def test_the_last_line_tells_the_run_from_this_start(
    summary: tuple[int, int, int, int, float], line: str
) -> None:
    assert _told(JobSummary("faces", *summary)).startswith(line)


def test_whoever_has_lost_the_run_leaves_its_file_alone(tmp_path: Path) -> None:
    storage, held, refused = LocalStorage(tmp_path), True, threading.Event()

    def look() -> bool:
        if not held:
            refused.set()
        return held

    def lose() -> None:
        nonlocal held
        with Progress(storage, look, every=0.02) as progress:
            progress.running(3, Tally())
            held = False
            # a look that began before is over
            assert refused.wait(20)
            storage.write(PROGRESS_NAME, b"theirs")
            time.sleep(0.2)
            assert storage.read(PROGRESS_NAME) == b"theirs"
            raise RunInUseError("taken over")

    with pytest.raises(RunInUseError, match="taken over"):
        lose()
    assert storage.read(PROGRESS_NAME) == b"theirs"


def written(storage: LocalStorage) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(storage.read(PROGRESS_NAME))
    return content


def eventually(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def moves(storage: LocalStorage) -> None:
    """Wait until the file says a later second."""
    before = written(storage)["updated_at"]
    eventually(lambda: written(storage)["updated_at"] > before)
