"""What a run survives: the death of a worker, and of the process that the user started."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from conftest import jpeg

SCRIPT = """
import sys
from featherface import Settings
from featherface_batch.job import JobConfig, annotate
from finders import RecordingFinder
print(annotate(JobConfig(sys.argv[1], sys.argv[2], Settings(input_size=320), cpus=1, load=RecordingFinder)))
"""
PHOTOS = 320


@pytest.fixture
def many(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(PHOTOS):
        (folder / f"{number:03d}.jpg").write_bytes(jpeg(number, 48, 48))
    return folder


def start(source: Path, output: Path, log: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "FINDER_LOG": str(log)}
    return subprocess.Popen([sys.executable, "-c", SCRIPT, str(source), str(output)], env=environment)


def wait_for(condition: Callable[[], object], process: subprocess.Popen[bytes], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)


def finished(output: Path) -> list[Path]:
    return sorted((output / "_work/results").rglob("*.jsonl"))


def looks(log: Path) -> list[tuple[int, str]]:
    lines = log.read_text().splitlines() if log.exists() else []
    return [(int(pid), digest) for pid, digest in (line.split() for line in lines)]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_killed_twice_and_resumed_a_run_is_exact(many: Path, tmp_path: Path) -> None:
    output, log = tmp_path / "out", tmp_path / "log"
    run = start(many, output, log)
    wait_for(lambda: finished(output), run)
    worker = looks(log)[-1][0]
    os.kill(worker, signal.SIGKILL)
    before = len(finished(output))
    wait_for(lambda: len(finished(output)) > before + 1, run)
    assert looks(log)[-1][0] != worker
    run.kill()
    run.wait()
    # Nothing may write to the output after this: the workers notice that their driver is gone.
    deadline = time.monotonic() + 60
    while any(alive(pid) for pid in {pid for pid, _ in looks(log)}):
        assert time.monotonic() < deadline, "a worker outlived its driver"
        time.sleep(0.1)

    committed = {
        hashlib.sha256((many / json.loads(line)["key"]).read_bytes()).hexdigest()
        for path in finished(output)
        for line in path.read_text().splitlines()
    }
    assert 0 < len(committed) < PHOTOS
    assert not (output / "_SUCCESS").exists()
    kept = {path: path.stat().st_mtime_ns for path in finished(output)}
    looked = Counter(digest for _, digest in looks(log))

    stale = output / "_work" / ".0123456789ab.partial"
    stale.write_bytes(b"half a fi")
    assert start(many, output, log).wait() == 0
    assert not stale.exists()
    again = Counter(digest for _, digest in looks(log)) - looked
    assert not committed & set(again), "a finished photo was looked at again"
    assert len(committed) + len(again) == PHOTOS
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    rows = [json.loads(line)["key"] for line in (output / "annotations.jsonl").read_text().splitlines()]
    assert rows == sorted(path.name for path in many.iterdir())
    assert (output / "errors.jsonl").read_text() == ""
    assert json.loads((output / "_SUCCESS").read_text())["photos"] == PHOTOS


def heed_ctrl_c() -> None:
    # what a shell starts in the background ignores it, and so do the children
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def annotating(photos: Path, output: Path, said: Path) -> subprocess.Popen[bytes]:
    command = [
        Path(sys.executable).parent / "featherface",
        "annotate",
        photos,
        "--output",
        output,
        "--cpus",
        "1",
    ]
    with said.open("wb") as file:
        return subprocess.Popen(command, stderr=file, preexec_fn=heed_ctrl_c)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_asked_to_end_a_run_says_so_and_leaves_nothing_behind(
    many: Path, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    output = tmp_path / "out"
    run = annotating(many, output, tmp_path / "said")
    wait_for(lambda: finished(output), run)
    run.send_signal(number)
    assert run.wait(timeout=180) == status
    lines = (tmp_path / "said").read_text().splitlines()
    assert lines[-1] == "featherface: stopped; the same command goes on from here"
    assert not any(word in line for line in lines for word in ("Traceback", "SIGTERM received"))
    assert json.loads((output / "progress.json").read_text())["state"] == "stopped"
    assert not (output / "_work/lease.json").exists()
    assert not (output / "_SUCCESS").exists()


@pytest.mark.parametrize("seconds", [0.2, 3.0])
def test_asked_to_end_while_ray_starts_a_run_says_so_and_leaves_no_process(
    many: Path, tmp_path: Path, seconds: float
) -> None:
    output, said = tmp_path / "out", tmp_path / "said"
    run = annotating(many, output, said)
    wait_for(lambda: "starting Ray" in said.read_text(), run)
    time.sleep(seconds)
    run.send_signal(signal.SIGTERM)
    started = [process.pid for process in psutil.Process(run.pid).children(recursive=True)]
    assert run.wait(timeout=180) == 143
    lines = said.read_text().splitlines()
    assert lines[-1] == "featherface: stopped; the same command goes on from here"
    assert not any("Traceback" in line for line in lines)
    assert json.loads((output / "progress.json").read_text())["state"] == "stopped"
    assert not (output / "_work/lease.json").exists()
    deadline = time.monotonic() + 30
    while any(alive(pid) for pid in started):
        assert time.monotonic() < deadline, "Ray outlived its driver"
        time.sleep(0.1)
