"""One command at a time works on a run, and a dead one keeps nobody waiting."""

from __future__ import annotations

import errno
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from featherface_batch.errors import RunInUseError
from featherface_batch.lease import LEASE_NAME, Lease
from featherface_batch.progress import PROGRESS_NAME, Progress
from featherface_batch.records import Tally
from featherface_batch.storage import LocalStorage

HOLD = """
import sys, time
from pathlib import Path
from featherface_batch.lease import Lease
from featherface_batch.storage import LocalStorage
with Lease(LocalStorage(Path(sys.argv[1])), every=0.05):
    print("held", flush=True)
    time.sleep(600)
"""
ELSEWHERE = {"holder": "theirs", "machine": "elsewhere", "host": "their-host", "pid": 7, "count": 0}


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path)


@contextmanager
def another_process(storage: LocalStorage) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLD, str(storage.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def theirs(storage: LocalStorage, count: int) -> None:
    storage.write(LEASE_NAME, json.dumps({**ELSEWHERE, "count": count}).encode())


def lease(storage: LocalStorage) -> dict[str, object]:
    return dict(json.loads(storage.read(LEASE_NAME)))


def test_a_lease_is_there_while_it_is_held(storage: LocalStorage) -> None:
    with Lease(storage) as held:
        assert storage.read(LEASE_NAME)
        held.check()
    assert not list(storage.names(""))


def test_a_holder_that_lives_is_left_alone(storage: LocalStorage) -> None:
    with another_process(storage) as process:
        with pytest.raises(RunInUseError, match=f"process {process.pid} on"), Lease(storage):
            pass
        assert lease(storage)["pid"] == process.pid


def test_two_jobs_of_one_process_exclude_each_other(storage: LocalStorage) -> None:
    with Lease(storage, every=0.05) as held:
        with pytest.raises(RunInUseError), Lease(storage):
            pass
        held.check()


def test_a_holder_that_was_killed_here_keeps_nobody_waiting(
    storage: LocalStorage, caplog: pytest.LogCaptureFixture
) -> None:
    with another_process(storage) as process:
        process.kill()
        process.wait()
        with caplog.at_level(logging.INFO), Lease(storage, silent=600):
            assert lease(storage)["pid"] != process.pid
    assert not caplog.messages


def test_a_process_of_the_same_number_before_this_one_is_dead(storage: LocalStorage) -> None:
    with Lease(storage):
        before = storage.read(LEASE_NAME)
    storage.write(LEASE_NAME, before)
    with Lease(storage, silent=600):
        assert storage.read(LEASE_NAME) != before


def test_a_machine_that_is_silent_is_lost(storage: LocalStorage, caplog: pytest.LogCaptureFixture) -> None:
    theirs(storage, 3)
    with caplog.at_level(logging.INFO), Lease(storage, every=0.05, silent=0.2) as held:
        held.check()
    assert "process 7 on their-host" in caplog.text


def test_a_machine_that_gives_signs_is_left_alone(storage: LocalStorage) -> None:
    theirs(storage, 0)
    stop = threading.Event()

    def live() -> None:
        count = 0
        while not stop.wait(0.05):
            theirs(storage, count := count + 1)

    thread = threading.Thread(target=live)
    thread.start()
    try:
        with pytest.raises(RunInUseError, match="their-host"), Lease(storage, every=0.05):
            pass
    finally:
        stop.set()
        thread.join()


def test_a_lease_that_ends_while_it_is_watched_is_free(storage: LocalStorage) -> None:
    theirs(storage, 0)
    ended = threading.Timer(0.2, storage.delete, [LEASE_NAME])
    ended.start()
    with Lease(storage, every=0.05, silent=600):
        assert lease(storage)["holder"] != "theirs"
    ended.join()


def test_who_loses_the_lease_hears_of_it_and_leaves_it(storage: LocalStorage) -> None:
    def taken(held: Lease) -> None:
        while True:
            # again and again: a sign of life may have been on its way
            theirs(storage, 0)
            held.check()
            time.sleep(0.01)

    with pytest.raises(RunInUseError, match="taken over"), Lease(storage, every=0.05) as held:
        taken(held)
    assert lease(storage)["holder"] == "theirs"


def test_of_many_that_start_at_once_one_works(storage: LocalStorage) -> None:
    together, entered, ended = threading.Barrier(8), [], threading.Event()

    def start(number: int) -> None:
        together.wait()
        with suppress(RunInUseError), Lease(storage, every=0.05):
            entered.append(number)
            ended.wait()

    threads = [threading.Thread(target=start, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 30
    while sum(thread.is_alive() for thread in threads) > 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    held = list(entered)
    ended.set()
    for thread in threads:
        thread.join()
    assert len(held) == 1
    assert entered == held


@pytest.mark.parametrize("links", [True, False])
def test_a_file_is_created_once(storage: LocalStorage, links: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path, target: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    if not links:
        # as a file system without them would
        monkeypatch.setattr(Path, "hardlink_to", refused)
    assert storage.create("a/file", b"first")
    assert not storage.create("a/file", b"second")
    assert storage.read("a/file") == b"first"
    assert list(storage.names("")) == ["a/file"]
    assert len(list(storage.folder.rglob("*"))) == 2


@pytest.mark.parametrize("written", [b"", b"{}", b"[1]", b'{"holder": 1, "more": 2}'])
def test_what_is_no_lease_keeps_nobody_out(storage: LocalStorage, written: bytes) -> None:
    storage.write(LEASE_NAME, written)
    with Lease(storage, silent=600) as held:
        held.check()


def test_who_lost_the_run_leaves_its_progress_to_the_other(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)

    def lose() -> None:
        with Progress(storage) as progress:
            progress.running(2, Tally())
            storage.write(PROGRESS_NAME, b"theirs")
            raise RunInUseError("taken over")

    with pytest.raises(RunInUseError, match="taken over"):
        lose()
    assert storage.read(PROGRESS_NAME) == b"theirs"
