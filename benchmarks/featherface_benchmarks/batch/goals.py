"""The goals of the bulk job, and whether a measurement meets them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from featherface_benchmarks.batch.speed import LOOP
from featherface_benchmarks.batch.turns import Turns

__all__ = ["Goal", "delay_goal", "large_photo_goals", "speed_goals"]

_OF_LINEAR: Final = 0.95
_OF_RAY_SCRIPT: Final = 1.5
_MEMORY: Final = 1.1
_LARGE: Final = 2.0
_ACCURACY: Final = 0.002
_DELAYED: Final = 0.9
# What other programs may have taken of the machine before a rate says nothing any more.
_OTHERS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure and its bound.

    Parameters
    ----------
    text : str
    figure, bound : float
    at_most : bool
        Whether the bound is an upper one.
    note : str
        What to know of the measurement.
    """

    text: str
    figure: float
    bound: float
    at_most: bool = False
    note: str = ""

    @property
    def met(self) -> bool:
        """Whether the figure is within its bound."""
        return self.figure <= self.bound if self.at_most else self.figure >= self.bound

    def __str__(self) -> str:
        sign = "<=" if self.at_most else ">="
        verdict = "met" if self.met else "NOT MET"
        note = f"  ({self.note})" if self.note else ""
        return f"{verdict:8} {self.figure:8.4g} {sign} {self.bound:<6g} {self.text}{note}"


def speed_goals(found: Mapping[str, Turns], cpus: int) -> list[Goal]:
    """Return the goals of a comparison with the plain loop and others."""
    if "annotate" not in found:
        return []
    ours = found["annotate"]
    others = max(turns.others for turns in found.values())
    note = f"other programs kept {others:.2f} CPUs busy" if others > _OTHERS else ""
    linear = ours.rate / (cpus * found[LOOP].rate)
    goals = [Goal(f"rate / ({cpus} x the plain loop's)", linear, _OF_LINEAR, note=note)]
    if "ray-script" in found:
        beside = ours.rate / found["ray-script"].rate
        goals.append(Goal("rate / the obvious Ray script's", beside, _OF_RAY_SCRIPT, note=note))
    growth = ours.peak_many / ours.peak_few
    goals.append(Goal("peak memory with all photos / with few", growth, _MEMORY, at_most=True))
    return goals


def large_photo_goals(ratio: float, levels: dict[str, dict[str, float]]) -> list[Goal]:
    """Return the goals of scaled decoding: its rate beside a full one, and the accuracy of both."""
    goals = [Goal("12 megapixels: rate / that of a full decode", ratio, _LARGE)]
    if levels:
        lost = max(abs(levels["scaled"][name] - levels["full"][name]) for name in levels["full"])
        goals.append(Goal("12 megapixels: largest change of AP", lost, _ACCURACY, at_most=True))
    return goals


def delay_goal(ratios: list[float], milliseconds: float) -> Goal:
    """Return the goal of a slower network."""
    median = statistics.median(ratios)
    return Goal(f"S3 with {milliseconds:g} ms more: rate / that without", median, _DELAYED)
