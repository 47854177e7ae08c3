"""Heads: class scores, boxes and landmarks for two priors a cell."""

import math

import torch
from torch import Tensor, nn

from .layers import conv_bn

__all__ = ["PRIORS_PER_CELL", "LevelHead"]

PRIORS_PER_CELL = 2


class LevelHead(nn.Module):
    """Three 1x1 convolutions over one level, behind a shared 3x3 convolution where `stem` is given.

    Parameters
    ----------
    width : int
        Channels of the level.
    stem : int or None
        Channels of the shared convolution, None for none.
    """

    def __init__(self, width: int, stem: int | None = None) -> None:
        super().__init__()
        self.stem = conv_bn(width, stem, 3, activation=nn.ReLU()) if stem else nn.Identity()
        inner = stem or width
        self.classification = nn.Conv2d(inner, PRIORS_PER_CELL * 2, 1)
        self.box = nn.Conv2d(inner, PRIORS_PER_CELL * 4, 1)
        self.landmark = nn.Conv2d(inner, PRIORS_PER_CELL * 10, 1)
        for conv in (self.classification, self.box, self.landmark):
            nn.init.normal_(conv.weight, std=0.01)
            nn.init.zeros_(conv.bias)
        # faces are rare among priors: start near p(face) = 0.01, as RetinaNet does (Lin et al., ICCV 2017)
        with torch.no_grad():
            self.classification.bias[0::2] = math.log(0.99 / 0.01) / 2
            self.classification.bias[1::2] = -math.log(0.99 / 0.01) / 2

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits (N, P, 2), boxes (N, P, 4) and landmarks (N, P, 10), P = 2 * H * W row by row."""
        x = self.stem(x)

        def flatten(y: Tensor, values: int) -> Tensor:
            return y.permute(0, 2, 3, 1).reshape(y.shape[0], -1, values)

        return (
            flatten(self.classification(x), 2),
            flatten(self.box(x), 4),
            flatten(self.landmark(x), 10),
        )
