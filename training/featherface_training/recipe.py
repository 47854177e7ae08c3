"""How the published weights came about: `recipe.toml` wires the stages, the packages keep their settings."""

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from featherface.packages import find_models_folder

from .config import TrainSettings
from .model_card import NAMES

__all__ = ["Recipe", "RecipeError", "Stage", "check_release", "plan", "read_recipe", "table"]

# runs of releases 0.1.0 and 0.2.0, whose weights the first stages start from
_EARLIER = 2


class RecipeError(ValueError):
    """The recipe can't be followed with what is there."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One run, and what is made of its weights.

    Attributes
    ----------
    name : str
        Such as "v1-4": the model and the number.
    start : str
        What it starts from: "release", or a stage's "NAME/last" or "NAME/mean".
    settings : TrainSettings
    steps : int
        How many steps of the settings' schedule are made.
    teachers : tuple of str
        Stages' weights, "tiny", "yunet", "centerface" or "retinaface".
    backbone : str or None
        Whose backbone replaces that of `start`.
    mean : mapping of str to float
        Earlier weights and their shares of "NAME/mean"; empty if there is none.
    ranked : tuple of str or None
        The data sets beside WIDER on which its last layers are fitted to average precision, which makes
        "NAME/ranked"; None if they are not.
    fitted : mapping of str to object
        How they were fitted, as the package tells; empty where it doesn't, as of weights that it holds in a
        mean only.
    """

    name: str
    start: str
    settings: TrainSettings
    steps: int
    teachers: tuple[str, ...] = ()
    backbone: str | None = None
    mean: Mapping[str, float] = field(default_factory=dict)
    ranked: tuple[str, ...] | None = None
    fitted: Mapping[str, Any] = field(default_factory=dict)

    def sources(self) -> list[str]:
        """Name all weights that it takes: other stages', and those of files."""
        backbone = [self.backbone] if self.backbone else []
        return [self.start, *self.teachers, *backbone, *self.mean]

    def stages_before(self) -> list[str]:
        """Name those of `sources` that other stages make."""
        return [source for source in self.sources() if "/" in source]

    def makes(self) -> list[str]:
        """Name what is made of its last weights."""
        return ["mean"] * bool(self.mean) + ["ranked"] * (self.ranked is not None)

    def model(self) -> str:
        """Return "v1" or "nano"."""
        return self.name.rpartition("-")[0]


@dataclass(frozen=True, slots=True)
class Recipe:
    """All stages, in an order in which they can be run.

    Attributes
    ----------
    stages : dict of str to Stage
    final : dict of str to str
        By model, the weights that were published.
    release : dict of str to dict
        By model, where the weights lie that its first stage starts from: `path` and `sha256`; and `commit`.
    """

    stages: dict[str, Stage]
    final: dict[str, str]
    release: dict[str, Any]


def read_recipe(path: Path | None = None, models: Path | None = None) -> Recipe:
    """Read a recipe and the settings of its stages.

    Parameters
    ----------
    path : Path or None
        The TOML file; the published models' if omitted.
    models : Path or None
        Folder of the packages; the installed one if omitted.

    Raises
    ------
    RecipeError
        If it names other stages than the packages keep settings of, or weights of no earlier stage.
    """
    raw = tomllib.loads((path or Path(__file__).with_name("recipe.toml")).read_text())
    stages: dict[str, Stage] = {}
    for model in raw["final"]:
        config = (models or find_models_folder()) / NAMES[model][1] / "deployment_config.json"
        told = json.loads(config.read_text())["training"]
        kept = [*told["history"], told][_EARLIER:]
        names = [name for name in raw["stages"] if name.rpartition("-")[0] == model]
        if names != [f"{model}-{i + 1}" for i in range(len(kept))]:
            raise RecipeError(
                f"expected {len(kept)} stages of {model} in a row, as {config} has, got {names}"
            )
        for name, entry in zip(names, kept, strict=True):
            wiring: dict[str, Any] = raw["stages"][name]
            stages[name] = Stage(
                name,
                settings=TrainSettings.from_dict(entry["settings"]),
                steps=entry["steps"],
                fitted=entry.get("ranking", {}),
                **{k: tuple(v) if isinstance(v, list) else v for k, v in wiring.items()},
            )
    recipe = Recipe({name: stages[name] for name in raw["stages"]}, raw["final"], raw["release"])
    made = set[str]()
    for stage in recipe.stages.values():
        if missing := [source for source in stage.stages_before() if source not in made]:
            raise RecipeError(f"{stage.name} needs {missing[0]}, which no stage before it makes")
        made.update(f"{stage.name}/{kind}" for kind in ("last", *stage.makes()))
    return recipe


def check_release(path: Path, told: Mapping[str, str]) -> None:
    """Check that a file holds the weights of a model's entry in `Recipe.release`.

    Raises
    ------
    RecipeError
        If it holds others.
    """
    if hashlib.sha256(path.read_bytes()).hexdigest() != told["sha256"]:
        raise RecipeError(f"{path} is not the release's: expected the SHA-256 {told['sha256']}")


def plan(recipe: Recipe, weights: str) -> list[Stage]:
    """Return the stages that weights such as "nano-16/ranked" need, in order."""
    waiting, needed = [weights], set[str]()
    while waiting:
        name = waiting.pop().partition("/")[0]
        if name not in needed:
            needed.add(name)
            waiting.extend(recipe.stages[name].stages_before())
    return [stage for stage in recipe.stages.values() if stage.name in needed]


def _row(stage: Stage) -> dict[str, str]:
    s = stage.settings
    # YuNet and CenterFace have none of the outputs that these weigh, RetinaFace teaches none of its
    of_outputs = {
        "classes": s.distillation.alpha,
        "boxes": s.distillation.box_weight,
        "landmarks": s.distillation.landmark_weight,
    }
    with_priors = set(stage.teachers) - {"yunet", "centerface", "retinaface"}
    lessons = [name for name, weight in of_outputs.items() if weight and with_priors]
    if lessons and s.distillation.mirror:
        lessons[-1] += " (two looks)"
    if s.distillation.answers_weight:
        asked = ["yunet", "centerface", "retinaface"] if s.distillation.large_answers_from else ["yunet"]
        who = " and ".join(f"{name}'s" for name in asked if name in stage.teachers)
        lessons.append(f"{who} answers x {s.distillation.answers_weight:g}")
    if s.distillation.feature_weight:
        whose = "FeatherFace's features" if s.distillation.feature_teachers == "ours" else "features"
        seen = f" (yunet: crops {s.distillation.enlarge}-fold)" if s.distillation.enlarge > 1 else ""
        lessons.append(f"{whose} x {s.distillation.feature_weight:g}{seen}")
    taught = f"{', '.join(stage.teachers)}: {', '.join(lessons)}" if stage.teachers else "labels alone"
    if s.ranking.weight:
        taught += f"; average precision x {s.ranking.weight:g}"
    close = f", {s.augmentation.close_up:.0%} close-ups" if s.augmentation.close_up else ""
    if close and min(s.sizes) < s.augmentation.close_up_from:
        close += f" from {s.augmentation.close_up_from} px on"
    means = [f"{share:g} of {source}" for source, share in stage.mean.items()]
    after = [f"mean with {', '.join(means)}"] * bool(means) + ["fitted to average precision"] * (
        "ranked" in stage.makes()
    )
    return {
        "stage": stage.name,
        "from": stage.start + (f", backbone of {stage.backbone}" if stage.backbone else ""),
        "taught by": taught,
        "steps": f"{stage.steps:,} of {s.batch} crops" + (", by Muon" if s.muon_rate else ""),
        "crops": f"{', '.join(map(str, s.sizes))} px, sides up to {max(s.augmentation.scales):g}{close}",
        "matching": s.loss.matching + (f", {s.loss.outside:g} px beside" if s.loss.outside else ""),
        "trained": ", ".join(s.parts) or "all",
        "statistics": "frozen" if s.frozen_statistics else "of batches",
        "afterwards": ", ".join(after),
    }


def table(stages: Sequence[Stage]) -> str:
    """Return the stages as a Markdown table, one a row."""
    rows = [_row(stage) for stage in stages]
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
