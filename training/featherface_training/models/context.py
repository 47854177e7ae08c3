"""Context modules: what a level sees around a face before the heads judge it."""

import torch
from torch import Tensor, nn

from .layers import ChannelShuffle, Layers, conv_bn

__all__ = ["GroupedSSH", "ShuffledContext"]


class ShuffledContext(nn.Module):
    """FeatherFace V1: a dense 3x3 convolution, BN, ReLU and a channel shuffle."""

    groups = 2

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = conv_bn(width, width, 3, activation=nn.ReLU())
        self.shuffle = ChannelShuffle(width, self.groups)

    def forward(self, x: Tensor) -> Tensor:
        """Widen the context of `x`, shape (N, C, H, W)."""
        return self.shuffle(self.conv(x))


class GroupedSSH(nn.Module):
    """FeatherFace Nano: SSH (Najibi et al., ICCV 2017) with grouped convolutions and a channel shuffle.

    Three branches see 3x3, 5x5 and 7x7; the wider ones share their first convolution.
    """

    groups = 4

    def __init__(self, width: int) -> None:
        super().__init__()
        half, quarter = width // 2, width // 4
        self.branch3 = conv_bn(width, half, 3, groups=self.groups)
        self.stem = conv_bn(width, quarter, 3, groups=self.groups, activation=nn.ReLU())
        self.branch5 = conv_bn(quarter, quarter, 3, groups=self.groups)
        self.branch7 = Layers(
            *conv_bn(quarter, quarter, 3, groups=self.groups, activation=nn.ReLU()),
            *conv_bn(quarter, quarter, 3, groups=self.groups),
        )
        self.shuffle = ChannelShuffle(width, self.groups)

    def forward(self, x: Tensor) -> Tensor:
        """Widen the context of `x`, shape (N, C, H, W)."""
        stem = self.stem(x)
        joined = torch.cat([self.branch3(x), self.branch5(stem), self.branch7(stem)], 1)
        return self.shuffle(torch.relu(joined))
