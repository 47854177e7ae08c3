"""Contestants that take turns on one machine: each runs while all others are stopped where they are.

Processors that other tenants share get faster and slower by half within minutes. Runs one after the other
measure that; turns of a few seconds give each contestant its share of the good and the bad ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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
    peak_few, peak_many : int
        Bytes of its processes together: until the turns began, and to their end. The former is looked at all
        the time, the latter at the end of each turn.
    others : float
        CPUs of the machine that other programs kept busy in its turns. Anything far from 0 says that the time
        is not to be trusted.
    """

    name: str
    seconds: float = 0.0
    photos: int = 0
    cpu_by_name: Mapping[str, float] = field(default_factory=dict)
    peak_few: int = 0
    peak_many: int = 0
    others: float = 0.0
    _marks: list[tuple[float, int]] = field(default_factory=list)

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
    few, count : int
    turn : float
        Seconds.

    Raises
    ------
    RuntimeError
        One failed, ended too early, or did not start.
    """
    families: list[Family] = []
    found = [Turns(runner.name) for runner in runners]
    try:
        for runner, turns in zip(runners, found, strict=True):
            families.append(Family(runner.command, runner.log))
            turns.peak_few = turns.peak_many = _start(families[-1], runner, few)
            families[-1].stop()
        before = [family.cpu_by_name() for family in families]
        first = [runner.done() for runner in runners]
        busy = [0.0] * len(runners)
        number = 0
        more = True
        while more:
            # Nobody always follows the same one.
            order = range(len(runners))[:: -1 if number % 2 else 1]
            for index in order:
                at = busy_seconds()
                more &= _turn(families[index], runners[index], found[index], count, turn)
                busy[index] += busy_seconds() - at
                found[index].peak_many = max(found[index].peak_many, families[index].memory())
            number += 1
        for index, turns in enumerate(found):
            after = families[index].cpu_by_name()
            turns.cpu_by_name = {name: after[name] - before[index].get(name, 0.0) for name in after}
            turns.photos = runners[index].done() - first[index]
            turns.others = max(0.0, busy[index] - sum(turns.cpu_by_name.values())) / turns.seconds
    finally:
        for family in families:
            family.end()
    return found


def _start(family: Family, runner: Runner, few: int) -> int:
    peak = 0
    deadline = time.monotonic() + _START_SECONDS
    while runner.done() < few:
        if family.ended or time.monotonic() > deadline:
            raise RuntimeError(f"{runner.name} has done only {runner.done()} of the first {few} photos")
        time.sleep(_LOOK_AT_MEMORY_SECONDS)
        peak = max(peak, family.memory())
    return peak


def _turn(family: Family, runner: Runner, turns: Turns, count: int, seconds: float) -> bool:
    """Let one go on for its turn; False if it has done all photos."""
    turns.mark(turns.seconds, runner.done())
    family.go_on()
    started = time.perf_counter()
    passed = 0.0
    more = True
    while more and passed < seconds:
        time.sleep(_LOOK_SECONDS)
        done = runner.done()
        passed = time.perf_counter() - started
        turns.mark(turns.seconds + passed, done)
        more = done < count
        if family.ended:
            raise RuntimeError(f"{runner.name} ended after {done} photos: expected at least {count}")
    family.stop()
    turns.seconds += time.perf_counter() - started
    return more
