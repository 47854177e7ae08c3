"""How fast the bulk job is, beside the ways that people would try first.

The contestants run one after the other, on the same photos and CPUs. The plain loop runs in pieces between
them, so each is compared with the loop just before and just after it: a machine that gets slower meanwhile
does so for both. Start-up is taken out by running each on few photos as well: the rate is that of the photos
beyond. The two runs also show whether memory grows with the number of photos.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from typing import Final

from featherface_benchmarks.batch.contestants import command_of
from featherface_benchmarks.batch.family import Measurement, measure

__all__ = ["Row", "compare", "copies"]

_MIB: Final = 1024 * 1024
_LOOP: Final = "loop"
_WORTH_TELLING: Final = 0.0001


@dataclass(frozen=True, slots=True)
class Row:
    """One run of a contestant on many photos, with start-up taken out.

    Parameters
    ----------
    name : str
    rate : float
        Photos per second.
    ratio : float
        To the plain loop around it.
    cpu : float
        CPU seconds per photo.
    cpu_by_name : mapping of str to float
        The same, by the processes' names.
    peak_few, peak_many : int
        Bytes, with few and with many photos.
    others : float
        CPUs that other processes kept busy.
    """

    name: str
    rate: float
    ratio: float
    cpu: float
    cpu_by_name: Mapping[str, float]
    peak_few: int
    peak_many: int
    others: float

    def __str__(self) -> str:
        line = (
            f"{self.name:14} {self.rate:9.1f} {self.ratio:7.2f} {1000 * self.cpu:13.1f} "
            f"{self.peak_few / _MIB:9.0f} {self.peak_many / _MIB:9.0f} {self.others:8.2f}"
        )
        most = sorted(self.cpu_by_name.items(), key=lambda item: -item[1])
        parts = [f"{name} {1000 * cpu:.1f}" for name, cpu in most if cpu >= _WORTH_TELLING]
        return f"{line}\n  CPU ms/photo: {', '.join(parts)}" if len(parts) > 1 else line


def compare(
    photos: Sequence[Path], names: Sequence[str], *, count: int, few: int, cpus: int, rounds: int
) -> Iterator[Row]:
    """Run the contestants and yield their rows as they come, the plain loop's last.

    Parameters
    ----------
    photos : sequence of Path
        Used again and again if there are fewer than `count`.
    names : sequence of str
        Of the contestants beside the loop.
    count, few : int
        Photos of the long and the short runs.
    cpus : int
        For each contestant but the loop, which uses one.
    rounds : int
    """
    piece = max(2 * few, count // 5)
    with tempfile.TemporaryDirectory() as place:
        sizes = {size: copies(photos, size, Path(place, str(size))) for size in {few, piece, count}}

        def run(name: str, size: int) -> Measurement:
            return measure(command_of(name, sizes[size], cpus))

        short = {name: run(name, few) for name in (_LOOP, *names)}
        loops = [_row(_LOOP, short[_LOOP], few, run(_LOOP, piece), piece)]
        for _ in range(rounds):
            for name in names:
                row = _row(name, short[name], few, run(name, count), count)
                loops.append(_row(_LOOP, short[_LOOP], few, run(_LOOP, piece), piece))
                around = statistics.mean(loop.rate for loop in loops[-2:])
                yield replace(row, ratio=row.rate / around)
        yield Row(
            _LOOP,
            statistics.median(loop.rate for loop in loops),
            1.0,
            statistics.median(loop.cpu for loop in loops),
            {},
            loops[0].peak_few,
            max(loop.peak_many for loop in loops),
            max(loop.others for loop in loops),
        )


def _row(name: str, short: Measurement, few: int, full: Measurement, count: int) -> Row:
    rate = (count - few) / max(full.seconds - short.seconds, 1e-9)
    cpu = (full.cpu_seconds - short.cpu_seconds) / (count - few)
    by_name = {
        part: (seconds - short.cpu_by_name.get(part, 0.0)) / (count - few)
        for part, seconds in full.cpu_by_name.items()
    }
    return Row(name, rate, 1.0, cpu, by_name, short.peak_bytes, full.peak_bytes, full.others)


def copies(photos: Sequence[Path], count: int, folder: Path) -> Path:
    """Make a folder of as many photos as asked for, by linking the same ones again and again."""
    folder.mkdir()
    for number, photo in enumerate(islice(cycle(photos), count)):
        (folder / f"{number:07d}{photo.suffix}").symlink_to(photo.resolve())
    return folder
