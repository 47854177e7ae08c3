"""The goals of the bulk job, and whether a measurement meets them."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Final

from featherface_benchmarks.batch.speed import Row

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


def speed_goals(rows: list[Row], cpus: int) -> list[Goal]:
    """Return the goals of a comparison's rows."""

    def mean(name: str, field: str) -> float:
        return statistics.mean(float(getattr(row, field)) for row in rows if row.name == name)

    names = {row.name for row in rows}
    others = max(row.others for row in rows)
    note = f"other programs kept {others:.2f} CPUs busy" if others > _OTHERS else ""
    goals = []
    if "annotate" in names:
        ratio = mean("annotate", "ratio")
        goals.append(Goal(f"rate / ({cpus} x the plain loop's)", ratio / cpus, _OF_LINEAR, note=note))
        if "ray-script" in names:
            beside = ratio / mean("ray-script", "ratio")
            goals.append(Goal("rate / the obvious Ray script's", beside, _OF_RAY_SCRIPT, note=note))
        growth = mean("annotate", "peak_many") / mean("annotate", "peak_few")
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
