"""How fast the bulk job is, beside the ways that people would try first, on the same photos and CPUs."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Final

from featherface_benchmarks.batch.contestants import command_of, photos_done
from featherface_benchmarks.batch.turns import Runner, Turns, take_turns

__all__ = ["HEAD", "LOOP", "compare", "copies", "row"]

LOOP: Final = "loop"
"""The contestant that the others are compared with; it uses one CPU."""
HEAD: Final = (
    f"{'contestant':14} {'photos/s':>9} {'x loop':>7} {'CPU ms/photo':>13} {'few MiB':>9} {'all MiB':>9} "
    f"{'others':>8} {'turns s':>8}"
)
_MIB: Final = 1024 * 1024
_WORTH_TELLING: Final = 0.0001
_WORTH_TELLING_MIB: Final = 5


def compare(
    photos: Sequence[Path], names: Sequence[str], *, count: int, few: int, cpus: int, turn: float
) -> dict[str, Turns]:
    """Let contestants and the plain loop take turns until the fastest has done all photos.

    Parameters
    ----------
    photos : sequence of Path
        Used again and again if there are fewer than `count`.
    names : sequence of str
        Of the contestants beside the loop.
    count : int
        Photos of the fastest.
    few : int
        Photos that each does alone before the turns begin: start-up, and what memory is compared with.
    cpus : int
        For each contestant but the loop.
    turn : float
        Seconds.
    """
    with tempfile.TemporaryDirectory() as place:
        # More than they are asked for, so that none comes to its end while it is measured.
        folder = copies(photos, 2 * count, Path(place, "photos"))
        runners = []
        for name in (LOOP, *names):
            own = Path(place, name)
            own.mkdir()
            command = command_of(name, folder, cpus, own)
            runners.append(Runner(name, command, own / "log", partial(photos_done, own)))
        return {turns.name: turns for turns in take_turns(runners, few=few, count=count, turn=turn)}


def row(turns: Turns, loop: Turns) -> str:
    """Return a contestant's line of the table."""
    line = (
        f"{turns.name:14} {turns.rate:9.1f} {turns.rate / loop.rate:7.2f} {1000 * turns.cpu:13.1f} "
        f"{turns.peak_few / _MIB:9.0f} {turns.peak_many / _MIB:9.0f} {turns.others:8.2f} {turns.seconds:8.0f}"
    )
    each = {name: cpu / max(1, turns.photos) for name, cpu in turns.cpu_by_name.items()}
    most = sorted(each.items(), key=lambda item: -item[1])
    parts = [f"{name} {1000 * cpu:.1f}" for name, cpu in most if cpu >= _WORTH_TELLING]
    grown = {
        name: (turns.many_by_name.get(name, 0) - turns.few_by_name.get(name, 0)) / _MIB
        for name in turns.many_by_name.keys() | turns.few_by_name.keys()
    }
    changes = [
        f"{name} {more:+.0f}"
        for name, more in sorted(grown.items(), key=lambda item: -item[1])
        if abs(more) >= _WORTH_TELLING_MIB
    ]
    cpu = f"\n  CPU ms/photo: {', '.join(parts)}" if len(parts) > 1 else ""
    memory = f"\n  MiB more with all photos: {', '.join(changes)}" if changes else ""
    return f"{line}{cpu}{memory}"


def copies(photos: Sequence[Path], count: int, folder: Path) -> Path:
    """Make a folder of as many photos as asked for, by linking the same ones again and again."""
    folder.mkdir()
    for number, photo in enumerate(islice(cycle(photos), count)):
        (folder / f"{number:07d}{photo.suffix}").symlink_to(photo.resolve())
    return folder
