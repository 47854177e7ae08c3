"""Short runs that tell what a part of the recipe gives: `python -m featherface_training.ablate -h`.

What is done already, whole or in part, is not done again.
"""

import argparse
import json
import logging
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .config import TrainSettings
from .evaluation.detectors import Size, open_detector
from .evaluation.errors import EvaluationError
from .evaluation.ground_truth import GroundTruth, read_ground_truth
from .evaluation.protocol import DIFFICULTIES, evaluate
from .evaluation.run import find_photos, predict
from .places import Places, add_places, read_places
from .recipe import RecipeError, check_release, read_recipe

__all__ = ["Ablation", "Ablations", "Row", "ablate", "main", "read_ablations", "table"]

log = logging.getLogger(__name__)

Row = tuple[str, Mapping[str, Any]]
"""What a run is called, and its result."""

_SIZES: tuple[Size, ...] = (640, "original")
_RESULT = "result.json"


@dataclass(frozen=True, slots=True)
class Ablation:
    """A run, and what the table calls it."""

    name: str
    says: str
    settings: TrainSettings
    teachers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ablations:
    """Runs by name, and the file that all start from."""

    start: str
    runs: Mapping[str, Ablation]


def read_ablations(path: Path | None = None) -> Ablations:
    """Read the TOML file, the published one if omitted.

    Raises
    ------
    ValueError
        If a run sets what there is not.
    """
    raw = tomllib.loads((path or Path(__file__).with_name("ablations.toml")).read_text())
    base = TrainSettings.from_dict(raw["base"])
    runs = {
        name: Ablation(name, run["says"], base.overridden(run.get("set", {})), tuple(run.get("teachers", ())))
        for name, run in raw["runs"].items()
    }
    return Ablations(raw["start"], runs)


@dataclass(frozen=True, slots=True)
class _Bench:
    """Where everything lies."""

    folder: Path
    places: Places
    truth: GroundTruth
    photos: dict[str, Path]
    threads: int

    def check(self, ablations: Ablations, runs: Sequence[Ablation], release: Mapping[str, Any]) -> None:
        """Tell what is missing before the first step rather than hours later."""
        start = ablations.start
        for name in dict.fromkeys([start, *(teacher for run in runs for teacher in run.teachers)]):
            if name not in self.places.files or not self.places.files[name].is_file():
                raise RecipeError(f"expected --file {name}=FILE and the file to be there")
        for run in runs:
            if missing := sorted(set(run.settings.shares) - set(self.places.extras)):
                raise RecipeError(f"{run.name} needs --extra {missing[0]}=LABELS:PHOTOS")
        check_release(self.places.files[start], release[start.removeprefix("release-")])

    def measure(self, model: Path) -> dict[str, Any]:
        found: dict[str, Any] = {"photos": len(self.photos)}
        for size in _SIZES:
            detect = open_detector(str(model), size, threads=self.threads)
            curves = evaluate(predict(detect, self.photos), self.truth)
            found[str(size)] = [round(curves[level].average_precision, 4) for level in DIFFICULTIES]
        return found

    def make(self, run: Ablation, start: Path) -> dict[str, Any]:
        folder = self.folder / run.name
        told = {"settings": run.settings.to_dict(), "teachers": list(run.teachers)}
        result = folder / _RESULT
        if result.is_file():
            made: dict[str, Any] = json.loads(result.read_text())
            if {key: made[key] for key in told} != told:
                raise RecipeError(
                    f"{folder} holds a run by other settings: move it away, or name other --runs"
                )
            return made
        # a run that was cut has no time of its own
        whole, began = not (folder / "last.pt").is_file(), time.monotonic()
        teachers = [self.places.files[teacher] for teacher in run.teachers]
        self.places.train(folder, run.settings, start, teachers)
        minutes = (time.monotonic() - began) / 60
        made = {**told, "minutes": round(minutes, 1) if whole else None, **self.measure(folder / "last.pt")}
        result.write_text(json.dumps(made, indent=1))
        return made


def ablate(
    ablations: Ablations,
    names: Sequence[str],
    folder: Path,
    places: Places,
    *,
    release: Mapping[str, Any],
    ground_truth: Path,
    threads: int = 0,
) -> list[Row]:
    """Make the named runs and measure them, on the photos of WIDER FACE val that are present.

    Parameters
    ----------
    ablations : Ablations
    names : sequence of str
        Of runs.
    folder : Path
        Receives a folder a run. One that is there is not made again, one that was cut goes on.
    places : Places
    release : mapping
        `Recipe.release`, which knows the weights that all start from.
    ground_truth : Path
        As for `featherface evaluate`.
    threads : int
        Of the session that measures; 0 takes all.

    Returns
    -------
    list of tuple
        What each is called and its result, the weights before any run first: average precisions by long side
        ("640", "original"), `photos`, and but for a run that was cut, `minutes` of training.

    Raises
    ------
    RecipeError
        If something is missing, before anything is trained; or if a run's folder holds one by other settings.
    EvaluationError
        If there are no photos of val, or no ground truth.
    """
    truth = read_ground_truth(ground_truth)
    bench = _Bench(folder, places, truth, find_photos(places.wider, truth), threads)
    runs = [ablations.runs[name] for name in names]
    bench.check(ablations, runs, release)
    start = places.files[ablations.start]
    rows: list[Row] = [("where all start", bench.measure(start))]
    for i, run in enumerate(runs):
        log.info("%s, run %d of %d", run.name, i + 1, len(runs))
        rows.append((run.says, bench.make(run, start)))
    return rows


def table(rows: Sequence[Row]) -> str:
    """Return what runs gave as a Markdown table."""
    photos = rows[0][1]["photos"]
    lines = [
        [f"{photos:,} photos of WIDER FACE val", "long side 640", "original size", "minutes"],
        ["---"] * 4,
    ]
    for says, result in rows:
        figures = [" / ".join(f"{value:.4f}" for value in result[str(size)]) for size in _SIZES]
        minutes = result.get("minutes")
        lines.append([says, *figures, "" if minutes is None else f"{minutes:g}"])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    ablations = read_ablations()
    parser = argparse.ArgumentParser(
        prog="python -m featherface_training.ablate", description=__doc__, fromfile_prefix_chars="@"
    )
    parser.add_argument(
        "run", nargs="*", metavar="RUN", help=f"one of {', '.join(ablations.runs)}; all if none is named"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/ablations"), help="a folder a run")
    parser.add_argument("--ground-truth", type=Path, required=True, help="folder of the official .mat files")
    add_places(parser)
    args = parser.parse_args(arguments)
    if unknown := [name for name in args.run if name not in ablations.runs]:
        parser.error(f"expected one of {', '.join(ablations.runs)}, got {unknown[0]!r}")
    places = read_places(args, parser)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        rows = ablate(
            ablations,
            args.run or list(ablations.runs),
            args.runs,
            places,
            release=read_recipe().release,
            ground_truth=args.ground_truth,
            threads=int(args.threads or 0),
        )
    except (EvaluationError, RecipeError) as error:
        parser.error(str(error))
    print(table(rows))


if __name__ == "__main__":
    main()
