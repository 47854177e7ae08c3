"""The deployed priors, as tensors."""

from functools import lru_cache

import torch
from torch import Tensor

from featherface.priors import make_priors

__all__ = ["prior_tensor"]


@lru_cache(maxsize=8)
def prior_tensor(height: int, width: int, device: torch.device) -> Tensor:
    """Return the priors of an input of `height` x `width` pixels: shape (P, 4), cx, cy, w, h in pixels."""
    return torch.from_numpy(make_priors(height, width).copy()).to(device)
