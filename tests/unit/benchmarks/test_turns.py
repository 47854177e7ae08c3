"""Contestants of a benchmark run one at a time, with all that they started."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest

from featherface_benchmarks.batch.family import Family
from featherface_benchmarks.batch.turns import Runner, take_turns

# A child does the work, as Ray's workers do, and notes when.
CHILD = """
import sys, time
with open(sys.argv[1], "a") as file:
    for _ in range(int(sys.argv[2])):
        time.sleep(0.01)
        print(time.monotonic(), file=file, flush=True)
"""
PARENT = "import subprocess, sys; sys.exit(subprocess.run([sys.executable, *sys.argv[1:]]).returncode)"


def times(notes: Path) -> list[float]:
    return [float(line) for line in notes.read_text().split()] if notes.exists() else []


def running(folder: Path) -> list[str]:
    """Return the commands of processes that name the folder."""
    commands = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            commands.append(process.read_text())
    return [command for command in commands if str(folder) in command]


def contestant(folder: Path, name: str, photos: int = 100_000) -> Runner:
    notes = folder / f"{name}.txt"
    command = [sys.executable, "-c", PARENT, "-c", CHILD, str(notes), str(photos)]
    return Runner(name, command, folder / f"{name}.log", lambda: len(times(notes)))


def test_one_runs_while_the_others_are_stopped(tmp_path: Path) -> None:
    runners = [contestant(tmp_path, name) for name in ("a", "b", "c")]
    found = take_turns(runners, few=5, count=200, turn=0.5)
    assert [turns.name for turns in found] == ["a", "b", "c"]
    assert max(len(times(tmp_path / f"{name}.txt")) for name in ("a", "b", "c")) >= 200
    noted = sorted((at, name) for name in ("a", "b", "c") for at in times(tmp_path / f"{name}.txt"))
    changes = sum(one[1] != other[1] for one, other in pairwise(noted))
    rounds = max(turns.seconds for turns in found) / 0.5 + 1
    assert changes <= 2 + 3 * rounds
    for turns in found:
        assert turns.rate > 0
        assert turns.seconds > 0
        assert turns.peak_many >= turns.peak_few > 0
        assert 0 < turns.photos <= len(times(tmp_path / f"{turns.name}.txt"))


def test_nothing_runs_afterwards(tmp_path: Path) -> None:
    take_turns([contestant(tmp_path, "a")], few=1, count=5, turn=0.3)
    done = len(times(tmp_path / "a.txt"))
    time.sleep(0.1)
    assert len(times(tmp_path / "a.txt")) == done
    assert not running(tmp_path)


def test_one_that_fails_says_why_and_takes_the_others_along(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no photos here')"]
    broken = Runner("broken", command, tmp_path / "broken.log", lambda: 0)
    with pytest.raises(RuntimeError, match="no photos here"):
        take_turns([contestant(tmp_path, "a"), broken], few=1, count=5, turn=0.3)
    assert not running(tmp_path)


def test_an_end_waits_for_those_that_were_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow:
        """A process that is killed and has not come to its end yet; it says so as often as told."""

        pid, left = 0, 3

        def send_signal(self, number: int) -> None:
            pass

        kill = status = lambda self: None

        def is_running(self) -> bool:
            self.left -= 1
            return self.left > 0

    family, slow = Family([sys.executable, "-c", ""], tmp_path / "log"), Slow()
    monkeypatch.setattr(family, "_members", lambda: [slow])
    family.end()
    assert slow.left == 0


def test_what_is_done_between_two_looks_at_one_that_ends_is_counted(tmp_path: Path) -> None:
    """The last photos are done, and the command ends, just when they are counted."""
    go_on, notes = tmp_path / "go on", tmp_path / "a.txt"
    waiting = (
        "import sys, time; from pathlib import Path\n"
        "while not Path(sys.argv[1]).exists(): time.sleep(0.01)\n"
        "Path(sys.argv[2]).write_text('1 2 3')"
    )

    def done() -> int:
        before = len(times(notes))
        if started and not before:
            go_on.touch()
            while running(tmp_path):
                time.sleep(0.01)
        started.append(True)
        return before

    started: list[bool] = []
    command = [sys.executable, "-c", waiting, str(go_on), str(notes)]
    # not "has done only 0 of the first 3"
    with pytest.raises(RuntimeError, match="a ended after 3 photos: expected at least 4"):
        take_turns([Runner("a", command, tmp_path / "a.log", done)], few=3, count=4, turn=0.3)


def test_one_that_comes_to_its_end_too_early_is_told(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"a ended after 30 photos: expected at least 1000"):
        take_turns([contestant(tmp_path, "a", photos=30)], few=1, count=1000, turn=5.0)
