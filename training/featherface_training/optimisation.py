"""What moves in a run, and how far: the trained parts, the optimiser, the schedule of its rate."""

import logging
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .config import TrainSettings
from .losses.distillation import FeatureAdapter
from .models.featherface import FeatherFace

__all__ = ["Optimizer", "freeze_statistics", "learning_rate", "make_optimizer", "train_only"]

_COLOURS = 3

log = logging.getLogger(__name__)


class Optimizer:
    """AdamW and, for matrices if there are any, Muon.

    Muon (Jordan, "Muon: an optimizer for hidden layers in neural networks", 2024) makes all singular
    values of a matrix's step about equal, where AdamW's step has a few large ones. Its steps are scaled to
    the size that AdamW's have at the same rate (Liu et al., "Muon is scalable for LLM training",
    arXiv:2502.16982, eq. 4).

    Parameters
    ----------
    groups : list of dict
        What AdamW moves, as its first argument.
    matrices : list of Parameter, each of shape (O, I, H, W)
        What Muon moves: each is a matrix of O rows.
    settings : TrainSettings
    """

    def __init__(
        self, groups: list[dict[str, Any]], matrices: Sequence[nn.Parameter], settings: TrainSettings
    ) -> None:
        self._adamw = torch.optim.AdamW(groups, lr=settings.learning_rate)
        self._matrices = tuple(matrices)
        # of the same memory, for Muon takes two dimensions only
        self._views = [nn.Parameter(_channels_last(weight.data).view(len(weight), -1)) for weight in matrices]
        self._muon: torch.optim.Muon | None = None
        self._muon_rate = settings.muon_rate
        if self._views:
            self._muon = torch.optim.Muon(
                self._views, weight_decay=settings.weight_decay, adjust_lr_fn="match_rms_adamw"
            )

    def set_rate(self, rate: float) -> None:
        """Set AdamW's rate, and Muon's by it."""
        for group in self._adamw.param_groups:
            group["lr"] = rate
        if self._muon is not None:
            for group in self._muon.param_groups:
                group["lr"] = rate * self._muon_rate

    def zero_grad(self) -> None:
        """Forget all gradients."""
        self._adamw.zero_grad(set_to_none=True)
        for weight in self._matrices:
            weight.grad = None

    def step(self) -> None:
        """Move all weights that have a gradient."""
        self._adamw.step()
        if self._muon is not None:
            for view, weight in zip(self._views, self._matrices, strict=True):
                view.grad = None if weight.grad is None else _channels_last(weight.grad).flatten(1)
            self._muon.step()

    def state_dict(self) -> dict[str, Any]:
        """Return what a resume needs; without matrices it is AdamW's own."""
        state: dict[str, Any] = self._adamw.state_dict()
        return state if self._muon is None else {**state, "muon": self._muon.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what `state_dict` returned, in place."""
        state = dict(state)
        muon = state.pop("muon", None)
        self._adamw.load_state_dict(state)
        if self._muon is not None:
            self._muon.load_state_dict(muon)


def _channels_last(weight: Tensor) -> Tensor:
    # as channels last lie in memory
    return weight.permute(0, 2, 3, 1)


def _matrices(model: FeatherFace) -> list[nn.Parameter]:
    """Return the weights of all dense convolutions but the stem, the attention and what gives the outputs."""
    return [
        layer.weight
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Conv2d)
        and layer.groups == 1
        and layer.in_channels > _COLOURS
        and layer.weight.requires_grad
        and name.startswith(("backbone.", "bifpn.", "context."))
    ]


def make_optimizer(model: FeatherFace, adapter: FeatureAdapter | None, settings: TrainSettings) -> Optimizer:
    """Return what moves all that is trained, the adapter too; vectors, such as biases, don't decay.

    Parameters
    ----------
    model : FeatherFace
        Its weights in channels-last memory.
    adapter : FeatureAdapter or None
        What makes the student's features comparable with a teacher's, if it learns from features.
    settings : TrainSettings
        Whose rates and decay hold; `muon_rate` above 0 has the dense convolutions moved by Muon.
    """
    matrices = _matrices(model) if settings.muon_rate else []
    if matrices:
        log.info("Muon moves %s parameters", f"{sum(weight.numel() for weight in matrices):,}")
    apart = {id(weight) for weight in matrices}
    parameters = [p for p in model.parameters() if p.requires_grad and id(p) not in apart]
    parameters += adapter.parameters() if adapter else ()
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return Optimizer(groups, matrices, settings)


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
