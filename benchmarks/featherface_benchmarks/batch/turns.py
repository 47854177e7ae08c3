"""Contestants that take turns on one machine: each runs while all others are stopped where they are.

Processors that other tenants share get faster and slower by half within minutes. Runs one after the other
measure that; turns of a few seconds give each contestant its share of the good and the bad ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Final

from featherface_benchmarks.batch.family import Family, busy_seconds

__all__ = ["Runner", "Turns", "take_turns"]

_LOOK_SECONDS: Final = 0.2
_LOOK_AT_MEMORY_SECONDS: Final = 0.5
_START_SECONDS: Final = 600.0
# What was done before the turns, and two moments to count between.
_MARKS: Final = 3


@dataclass(frozen=True, slots=True)
class Runner:
    """A contestant.

    Parameters
    ----------
    name : str
    command : sequence of str
        It must not come to its end before its photos are counted: a process that has left cannot be measured.
    log : Path
        Receives what the command says.
    done : callable
        Says how many photos are done.
    """

    name: str
    command: Sequence[str]
    log: Path
    done: Callable[[], int]


@dataclass(slots=True)
class Turns:
    """What a contestant did in its turns, start-up apart.

    Parameters
    ----------
    name : str
    seconds : float
        That it ran.
    photos : int
        That it did in them.
    cpu_by_name : mapping of str to float
        CPU seconds of its processes meanwhile, by what they called themselves.
    few_by_name, many_by_name : mapping of str to int
        Bytes of its processes when they had the most together: until the turns began, and to their end. The
        former is looked at all the time, the latter at the end of each turn.
    others : float
        CPUs of the machine that other programs kept busy in its turns. Anything far from 0 says that the time
        is not to be trusted.
    """

    name: str
    seconds: float = 0.0
    photos: int = 0
    cpu_by_name: Mapping[str, float] = field(default_factory=dict)
    few_by_name: Mapping[str, int] = field(default_factory=dict)
    many_by_name: Mapping[str, int] = field(default_factory=dict)
    others: float = 0.0
    _marks: list[tuple[float, int]] = field(default_factory=list, init=False, repr=False)

    @property
    def rate(self) -> float:
        """Photos per second of its turns, from the first moment when photos were done to the last.

        Who counts them by the shard would else win or lose part of one.
        """
        if len(self._marks) < _MARKS:
            return self.photos / self.seconds
        (start, first), (end, last) = self._marks[1], self._marks[-1]
        return (last - first) / (end - start)

    @property
    def peak_few(self) -> int:
        """Bytes of all its processes together, at most, until the turns began."""
        return sum(self.few_by_name.values())

    @property
    def peak_many(self) -> int:
        """Bytes of all its processes together, at most, to the end."""
        return sum(self.many_by_name.values())

    @property
    def cpu(self) -> float:
        """CPU seconds per photo."""
        return sum(self.cpu_by_name.values()) / max(1, self.photos)

    def mark(self, seconds: float, done: int) -> None:
        """Note how much is done after so many seconds of its turns."""
        if not self._marks or done > self._marks[-1][1]:
            self._marks.append((seconds, done))


def take_turns(runners: Sequence[Runner], *, few: int, count: int, turn: float) -> list[Turns]:
    """Run all contestants by turns until the first has done its photos; returns what each did, in order.

    Parameters
    ----------
    runners : sequence of Runner
        Each first runs alone until it has done `few` photos.
    few : int
        Photos that each does alone, before the turns.
    count : int
        Photos after which the first ends the measurement.
    turn : float
        Seconds.

    Raises
    ------
    RuntimeError
        One failed, ended too early, or did not start.
    """
    contestants: list[_Contestant] = []
    try:
        for runner in runners:
            contestants.append(_Contestant(runner))
            contestants[-1].start(few)
        # Nobody always follows the same one.
        for order in cycle((contestants, contestants[::-1])):
            ready = [contestant.turn(count, turn) for contestant in order]
            if any(ready):
                break
        return [contestant.finish() for contestant in contestants]
    finally:
        for contestant in contestants:
            contestant.family.end()


class _Contestant:
    """A runner's processes, and what they did in their turns up to now."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._turns = Turns(runner.name)
        self._busy = 0.0
        self._cpu_before: Mapping[str, float] = {}
        self._done_before = 0
        self.family = Family(runner.command, runner.log)

    def start(self, few: int) -> None:
        """Let it do its first photos, and stop it there."""
        deadline = time.monotonic() + _START_SECONDS
        while True:
            ended, done = self._look()
            if done >= few:
                break
            if ended or time.monotonic() > deadline:
                raise RuntimeError(f"{self._runner.name} has done only {done} of the first {few} photos")
            time.sleep(_LOOK_AT_MEMORY_SECONDS)
            self._turns.few_by_name = _larger(self._turns.few_by_name, self.family.memory_by_name())
        self.family.stop()
        # once more: a fast one may have been done before anybody looked
        self._turns.few_by_name = _larger(self._turns.few_by_name, self.family.memory_by_name())
        self._turns.many_by_name = self._turns.few_by_name
        self._cpu_before = self.family.cpu_by_name()
        self._done_before = self._runner.done()

    def turn(self, count: int, seconds: float) -> bool:
        """Let it go on for a turn, or until all photos are done; returns whether they are."""
        turns = self._turns
        busy_before = busy_seconds()
        turns.mark(turns.seconds, self._runner.done())
        self.family.go_on()
        started = time.perf_counter()
        passed, done = 0.0, 0
        while passed < seconds and done < count:
            time.sleep(_LOOK_SECONDS)
            ended, done = self._look()
            passed = time.perf_counter() - started
            turns.mark(turns.seconds + passed, done)
            if ended:
                raise RuntimeError(f"{turns.name} ended after {done} photos: expected at least {count}")
        self.family.stop()
        turns.seconds += time.perf_counter() - started
        self._busy += busy_seconds() - busy_before
        turns.many_by_name = _larger(turns.many_by_name, self.family.memory_by_name())
        return done >= count

    def finish(self) -> Turns:
        """Count what it did in all its turns."""
        turns = self._turns
        after = self.family.cpu_by_name()
        turns.cpu_by_name = {name: after[name] - self._cpu_before.get(name, 0.0) for name in after}
        turns.photos = self._runner.done() - self._done_before
        turns.others = max(0.0, self._busy - sum(turns.cpu_by_name.values())) / turns.seconds
        return turns

    def _look(self) -> tuple[bool, int]:
        """Return whether it has ended, and how many photos are done."""
        # in this order: between the two it may do its last photos and end
        return self.family.ended, self._runner.done()


def _larger(one: Mapping[str, int], other: Mapping[str, int]) -> Mapping[str, int]:
    return max(one, other, key=lambda by_name: sum(by_name.values()))
