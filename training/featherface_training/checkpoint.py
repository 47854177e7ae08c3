"""Checkpoints: everything that an exact resume needs, written whole or not at all."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .config import TrainSettings
from .ema import AveragedModel
from .losses.ranking import RankingLoss
from .models.featherface import FeatherFace, build_model
from .optimisation import Optimizer

__all__ = [
    "AFTERWARDS",
    "CheckpointError",
    "last_stage",
    "load_adapter",
    "load_model",
    "resume",
    "save",
    "stages",
    "write",
]


AFTERWARDS = ("average", "ranking")
"""Entries that tell what was done to a run's weights without training."""


class CheckpointError(ValueError):
    """A checkpoint does not fit the run or the model."""


def write(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint's entries whole or not at all."""
    temporary = path.with_suffix(path.suffix + ".tmp")
    torch.save(state, temporary)
    os.replace(temporary, path)


def save(
    path: Path,
    settings: TrainSettings,
    step: int,
    model: FeatherFace,
    averaged: AveragedModel,
    optimizer: Optimizer,
    adapter: nn.Module | None = None,
    history: Sequence[dict[str, Any]] = (),
    ranking: RankingLoss | None = None,
) -> None:
    """Write a checkpoint after `step` optimisation steps.

    `history` says how the weights came about that the run started from: settings and steps of earlier runs.

    `model_state_dict` holds the averaged weights: what is evaluated and deployed.
    """
    write(
        {
            "model": settings.model,
            "settings": settings.to_dict(),
            "step": step,
            "model_state_dict": averaged.model.state_dict(),
            "training_state_dict": model.state_dict(),
            "optimizer_state_dict": optimizer.state_dict(),
            "adapter_state_dict": adapter.state_dict() if adapter else {},
            "ranking_state_dict": ranking.state() if ranking else {},
            "history": list(history),
        },
        path,
    )


def resume(
    path: Path,
    settings: TrainSettings,
    model: FeatherFace,
    averaged: AveragedModel,
    optimizer: Optimizer,
    device: torch.device,
    adapter: nn.Module | None = None,
    ranking: RankingLoss | None = None,
) -> int:
    """Load a run's state in place, and return the number of steps done.

    Raises
    ------
    CheckpointError
        If the checkpoint was written with other settings.
    """
    state = torch.load(path, map_location=device, weights_only=True)
    saved = TrainSettings.from_dict(state["settings"])
    if saved != settings:
        changed = [k for k, v in settings.to_dict().items() if saved.to_dict()[k] != v]
        raise CheckpointError(
            f"{path} was written with other settings ({', '.join(changed)}): use the same ones to resume, "
            "or another folder for a new run"
        )
    model.load_state_dict(state["training_state_dict"])
    averaged.model.load_state_dict(state["model_state_dict"])
    optimizer.load_state_dict(state["optimizer_state_dict"])
    if adapter is not None:
        adapter.load_state_dict(state["adapter_state_dict"])
    if ranking is not None:
        ranking.load(state["ranking_state_dict"])
    return int(state["step"])


def load_adapter(path: Path | None, adapter: nn.Module) -> None:
    """Load the adapter of the checkpoint that a run starts from, in place.

    Raises
    ------
    CheckpointError
        If there is no checkpoint, or its run had no adapter, or one for other teachers.
    """
    state = torch.load(path, map_location="cpu", weights_only=True) if path else {}
    kept, wanted = state.get("adapter_state_dict", {}), adapter.state_dict()
    if {k: v.shape for k, v in kept.items()} != {k: v.shape for k, v in wanted.items()}:
        raise CheckpointError(
            f"keep_adapter goes on with a run's adapter for the same teachers, but {path or 'no checkpoint'} "
            "has none such: start from the last checkpoint of such a run, or set keep_adapter to false"
        )
    adapter.load_state_dict(kept)


def stages(entries: dict[str, Any]) -> list[dict[str, Any]]:
    """Return how a checkpoint's weights came about, from the entries that `load_model` returns.

    Returns
    -------
    list of dict
        A run each, the last one's at the end: `settings`, `steps`, and what was done to its weights
        afterwards: `average`, where they were averaged with those of earlier stages (`stage`, counted from 1,
        and `weight`), and `ranking`, see `featherface_training.ranking`.
    """
    last = {"settings": entries["settings"], "steps": entries["step"]}
    last |= {name: entries[name] for name in AFTERWARDS if name in entries}
    return [*entries.get("history", ()), last]


def last_stage(entries: dict[str, Any]) -> dict[str, Any]:
    """Return what a copy of a checkpoint's weights must tell of their last run, as a checkpoint keeps it."""
    return {name: entries[name] for name in ("settings", "step", *AFTERWARDS) if name in entries}


def load_model(path: Path) -> tuple[FeatherFace, dict[str, Any]]:
    """Build the model of a checkpoint or a package's `.pth` to evaluate, and return the other entries too.

    Raises
    ------
    CheckpointError
        If the file is not a FeatherFace checkpoint.
    """
    state = torch.load(path, map_location="cpu", weights_only=True)
    if (
        not isinstance(state, dict)
        or "model_state_dict" not in state
        or state.get("model") not in ("v1", "nano")
    ):
        raise CheckpointError(f"{path}: expected a checkpoint with 'model' and 'model_state_dict'")
    model = build_model(state["model"])
    model.load_state_dict(state["model_state_dict"])
    model.eval()
    return model, {k: v for k, v in state.items() if not k.endswith("state_dict")}
