"""What moves in a run, and how far: the trained parts, the optimiser, the schedule of its rate."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from .config import TrainSettings
from .losses.distillation import FeatureAdapter
from .models.featherface import FeatherFace

__all__ = ["freeze_statistics", "learning_rate", "make_optimizer", "train_only"]


def make_optimizer(
    model: FeatherFace, adapter: FeatureAdapter | None, settings: TrainSettings
) -> torch.optim.AdamW:
    """Return AdamW over what is trained, the adapter too; vectors, such as biases, don't decay."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    parameters += adapter.parameters() if adapter else ()
    decayed = [p for p in parameters if p.ndim > 1]
    others = [p for p in parameters if p.ndim <= 1]
    return torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": settings.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
    )


def train_only(model: FeatherFace, parts: Sequence[str]) -> None:
    """Freeze all but the named modules: neither their weights nor their statistics move in training.

    Raises
    ------
    ValueError
        If the model has no module of a name.
    """
    modules = dict(model.named_modules())
    unknown = [name for name in parts if not name or name not in modules]
    if unknown:
        raise ValueError(
            f"expected modules of {model.name} in `parts`, such as 'heads.2', got {unknown[0]!r}"
        )
    model.eval().requires_grad_(False)
    for name in parts:
        modules[name].train().requires_grad_(True)


def freeze_statistics(model: FeatherFace) -> None:
    """Let batch normalisation use its running statistics in training, and keep them."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def learning_rate(settings: TrainSettings, step: int, total: int) -> float:
    """Return the rate of step `step` of `total`: linear warm-up, then a cosine to a hundredth."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    progress = (step - settings.warmup_steps) / max(1, total - settings.warmup_steps)
    return settings.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * min(1.0, progress))) / 2)
