"""Train a published model from its first stage to its last: `python -m featherface_training.reproduce -h`.

What is done already, whole or in part, is not done again.
"""

import argparse
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from . import average
from .model_card import NAMES
from .places import Places, add_places, read_places
from .ranking import cli as ranking
from .recipe import Recipe, RecipeError, Stage, check_release, plan, read_recipe, table

__all__ = ["main", "reproduce"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Bench:
    """Where everything lies."""

    recipe: Recipe
    runs: Path
    places: Places

    def file(self, source: str, stage: Stage) -> Path:
        if "/" in source:
            return self.runs / f"{source}.pt"
        key = f"release-{stage.model()}" if source == "release" else source
        if key in self.places.files:
            return self.places.files[key]
        hint = f"give it as --file {key}=FILE"
        if source == "release":
            there = f"{self.recipe.release['commit']}:{self.recipe.release[stage.model()]['path']}"
            hint += f", which `git show {there} > FILE` writes"
        raise RecipeError(f"{stage.name} needs {key}: {hint}")

    def check(self, stages: Sequence[Stage]) -> None:
        """Tell what is missing before the first step rather than hours later."""
        for stage in stages:
            for source in stage.sources():
                path = self.file(source, stage)
                if "/" not in source and not path.is_file():
                    raise RecipeError(f"{stage.name} needs {path}, which is not there")
                if source == "release":
                    check_release(path, self.recipe.release[stage.model()])
            if missing := sorted({*stage.settings.shares, *(stage.ranked or ())} - set(self.places.extras)):
                raise RecipeError(f"{stage.name} needs --extra {missing[0]}=LABELS:PHOTOS")

    def done(self, stage: Stage) -> int:
        """Return how many steps are made."""
        last = self.runs / stage.name / "last.pt"
        return torch.load(last, map_location="cpu", weights_only=True)["step"] if last.is_file() else 0

    def make(self, stage: Stage) -> None:
        folder = self.runs / stage.name
        last, mean, ranked = (folder / f"{name}.pt" for name in ("last", "mean", "ranked"))
        steps = self.done(stage)
        log.info("%s: %d of %d steps made", stage.name, steps, stage.steps)
        if steps < stage.steps:
            more = ["--stop-after", str(stage.steps)]
            if stage.backbone:
                more += ["--backbone", str(self.file(stage.backbone, stage))]
            teachers = [self.file(teacher, stage) for teacher in stage.teachers]
            start = self.file(stage.start, stage)
            self.places.train(folder, stage.settings, start, teachers, more)
        if stage.mean and not mean.is_file():
            shares = [f"--with={self.file(source, stage)}={share}" for source, share in stage.mean.items()]
            average.main([str(mean), str(last), *shares])
        if stage.ranked is not None and not ranked.is_file():
            source = mean if stage.mean else last
            photos = self.places.photos(stage.ranked)
            ranking.main([str(source), str(ranked), *photos, *_as_fitted(stage.fitted)])


def _as_fitted(told: Mapping[str, Any]) -> list[str]:
    """Return the arguments of the fit that a package tells of."""
    if not told:
        return []
    arguments = ["--mirror" if told.get("mirrored", False) else "--no-mirror"]
    arguments += ["--bf16" if told["bf16"] else "--no-bf16"]
    for size in told["sizes"]:
        arguments += ["--size", str(size)]
    for name in ("seed", "steps", "hold", "learning_rate", "extra_weight"):
        arguments += [f"--{name.replace('_', '-')}", str(told[name])]
    return [*arguments, "--weights", *map(str, told["weights"])]


def reproduce(recipe: Recipe, model: str, runs: Path, places: Places) -> Path:
    """Make the weights of a published model, stage by stage, and return their checkpoint.

    Parameters
    ----------
    recipe : Recipe
    model : {"v1", "nano"}
        Nano needs stages of V1, its teacher.
    runs : Path
        Receives a folder a stage. A stage that is there is not made again, one that was cut goes on.
    places : Places

    Raises
    ------
    RecipeError
        If something is missing, before anything is trained.
    """
    stages = plan(recipe, recipe.final[model])
    bench = _Bench(recipe, runs, places)
    bench.check(stages)
    for i, stage in enumerate(stages):
        log.info("stage %d of %d", i + 1, len(stages))
        bench.make(stage)
    return runs / f"{recipe.final[model]}.pt"


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m featherface_training.reproduce", description=__doc__, fromfile_prefix_chars="@"
    )
    parser.add_argument("model", choices=sorted(NAMES))
    parser.add_argument("--plan", action="store_true", help="print the stages as a table and train nothing")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="a folder a stage (default runs)")
    add_places(parser)
    args = parser.parse_args(arguments)
    recipe = read_recipe()
    if args.plan:
        print(table(plan(recipe, recipe.final[args.model])))
        return
    places = read_places(args, parser)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        made = reproduce(recipe, args.model, args.runs, places)
    except RecipeError as error:
        parser.error(str(error))
    print(made)


if __name__ == "__main__":
    main()
