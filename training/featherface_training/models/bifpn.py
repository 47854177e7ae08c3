"""BiFPN over three levels with fast normalised fusion (Tan et al., EfficientDet, CVPR 2020)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import Layers, conv_bn

__all__ = ["NanoBiFPNCell", "V1BiFPNCell"]

EPSILON = 1e-4


def _normalised(weight: Tensor) -> Tensor:
    weight = torch.relu(weight)
    return weight / (weight.sum() + EPSILON)


def _fuse(weight: Tensor, *features: Tensor) -> Tensor:
    total = weight[0] * features[0]
    for i, feature in enumerate(features[1:], 1):
        total = total + weight[i] * feature
    return F.silu(total)


def _up(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def _down(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, stride=2, padding=1)


class V1BiFPNCell(nn.Module):
    """One cell of FeatherFace V1: a separable convolution and a fusion vector of its own at each of 4 nodes.

    Parameters
    ----------
    width : int
        Channels of every level.
    in_channels : tuple of int or None
        Channels of P3, P4, P5 for the first cell, which reduces them (P4 and P5 a second time for the
        bottom-up path); None for later cells.
    """

    def __init__(self, width: int, in_channels: tuple[int, int, int] | None = None) -> None:
        super().__init__()

        def separable() -> Layers:
            return Layers(
                nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False),
                nn.Conv2d(width, width, 1),
                nn.BatchNorm2d(width),
            )

        self.p4_up, self.p3_out, self.p4_out, self.p5_out = (separable() for _ in range(4))
        self.fuse_p4_up = nn.Parameter(torch.ones(2))
        self.fuse_p3_out = nn.Parameter(torch.ones(2))
        self.fuse_p4_out = nn.Parameter(torch.ones(3))
        # the published cell fuses two features here and lets a third weight enter the normalisation only
        self.fuse_p5_out = nn.Parameter(torch.ones(3))
        self.reducers: nn.ModuleList | None = None
        self.bottom_up_reducers: nn.ModuleList | None = None
        if in_channels is not None:
            self.reducers = nn.ModuleList(conv_bn(c, width, 1, bias=True) for c in in_channels)
            self.bottom_up_reducers = nn.ModuleList(conv_bn(c, width, 1, bias=True) for c in in_channels[1:])

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Fuse [P3, P4, P5] top-down, then bottom-up."""
        p3, p4, p5 = features
        p4_again, p5_again = p4, p5
        if self.reducers is not None and self.bottom_up_reducers is not None:
            p4_again, p5_again = self.bottom_up_reducers[0](p4), self.bottom_up_reducers[1](p5)
            p3, p4, p5 = (reduce(x) for reduce, x in zip(self.reducers, features, strict=True))
        p4_up = self.p4_up(_fuse(_normalised(self.fuse_p4_up), p4, _up(p5)))
        p3_out = self.p3_out(_fuse(_normalised(self.fuse_p3_out), p3, _up(p4_up)))
        p4_out = self.p4_out(_fuse(_normalised(self.fuse_p4_out), p4_again, p4_up, _down(p3_out)))
        p5_out = self.p5_out(_fuse(_normalised(self.fuse_p5_out), p5_again, _down(p4_out)))
        return [p3_out, p4_out, p5_out]


class NanoBiFPNCell(nn.Module):
    """One cell of FeatherFace Nano: one separable convolution and one fusion vector shared by its 4 nodes.

    Nodes of two inputs normalise the vector's first two weights.
    """

    def __init__(self, width: int, in_channels: tuple[int, int, int] | None = None) -> None:
        super().__init__()
        self.node = Layers(
            nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False),
            nn.Conv2d(width, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        self.fuse = nn.Parameter(torch.ones(3))
        self.reducers: nn.ModuleList | None = None
        if in_channels is not None:
            self.reducers = nn.ModuleList(conv_bn(c, width, 1) for c in in_channels)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Fuse [P3, P4, P5] top-down, then bottom-up."""
        if self.reducers is not None:
            features = [reduce(x) for reduce, x in zip(self.reducers, features, strict=True)]
        p3, p4, p5 = features
        two, three = _normalised(self.fuse[:2]), _normalised(self.fuse)
        p4_up = self.node(_fuse(two, p4, _up(p5)))
        p3_out = self.node(_fuse(two, p3, _up(p4_up)))
        p4_out = self.node(_fuse(three, p4, p4_up, _down(p3_out)))
        p5_out = self.node(_fuse(two, p5, _down(p4_out)))
        return [p3_out, p4_out, p5_out]
