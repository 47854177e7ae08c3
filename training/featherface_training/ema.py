"""An exponential moving average of a model's weights and statistics."""

import copy

import torch

from .models.featherface import FeatherFace

__all__ = ["AveragedModel"]


class AveragedModel:
    """Follow a model with decaying memory.

    Parameters
    ----------
    model : FeatherFace
        Copied; `update` follows it.
    decay : float
        How much of the average stays at each step, once past the first steps, in which it is lower.
    """

    def __init__(self, model: FeatherFace, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, model: FeatherFace, step: int) -> None:
        """Move the average towards `model` after optimisation step `step`, counted from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        averaged, current = self.model.state_dict(), model.state_dict()
        for name, value in averaged.items():
            if value.dtype.is_floating_point:
                value.lerp_(current[name], 1 - decay)
            else:
                value.copy_(current[name])
