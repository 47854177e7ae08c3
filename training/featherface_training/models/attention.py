"""CBAM: channel and spatial attention (Woo et al., ECCV 2018)."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from .layers import conv_bn

__all__ = ["CBAM", "ChannelGate", "SpatialGate", "mean_and_maximum"]


class _MeanAndMaximum(torch.autograd.Function):
    """Mean and maximum over dimensions, in fewer passes than their own operators' gradients take together."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        count = math.prod(x.shape[dim] for dim in dims)
        maximum = x.amax(dims, keepdim=True)
        ctx.save_for_backward(x, maximum)
        ctx.dims, ctx.count = dims, count
        return x.sum(dims, keepdim=True) / count, maximum

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        x, maximum = ctx.saved_tensors
        of_mean, of_maximum = gradients
        highest = x == maximum
        shares = highest.sum(ctx.dims, keepdim=True, dtype=torch.int32)
        every = of_mean / ctx.count
        return torch.where(highest, every + of_maximum / shares, every), None


def mean_and_maximum(x: Tensor, *dims: int) -> tuple[Tensor, Tensor]:
    """Return mean and maximum over dimensions, which stay with length 1.

    Where gradients flow, several equal maxima share theirs, as in `torch.amax`.

    Parameters
    ----------
    x : Tensor, float
    dims : int
    """
    if x.requires_grad:
        mean, maximum = _MeanAndMaximum.apply(x, dims)
        return mean, maximum
    return x.mean(dims, keepdim=True), x.amax(dims, keepdim=True)


class ChannelGate(nn.Module):
    """Channel attention: one MLP over the average and the maximum of each channel, summed, sigmoid.

    The MLP is written as 1x1 convolutions: the same parameters without reshapes in the exported graph.
    """

    def __init__(self, channels: int, hidden: int, bias: bool) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Conv2d(channels, hidden, 1, bias=bias),
            nn.ReLU(),
            nn.Conv2d(hidden, channels, 1, bias=bias),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Scale the channels of `x`, shape (N, C, H, W)."""
        average, maximum = mean_and_maximum(x, 2, 3)
        return x * torch.sigmoid(self.mlp(average) + self.mlp(maximum))


class SpatialGate(nn.Module):
    """Spatial attention: a 7x7 convolution and BN on the maximum and the mean over channels, sigmoid."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = conv_bn(2, 1, 7)

    def forward(self, x: Tensor) -> Tensor:
        """Scale the positions of `x`, shape (N, C, H, W)."""
        mean, maximum = mean_and_maximum(x, 1)
        return x * torch.sigmoid(self.conv(torch.cat([maximum, mean], 1)))


class CBAM(nn.Module):
    """Channel gate, then spatial gate, with a residual connection and ReLU.

    Parameters
    ----------
    channels, hidden : int
        Width of the features and of the channel gate's MLP.
    bias : bool
        Whether the MLP has biases.
    spatial : SpatialGate
        Handed in because FeatherFace Nano shares one between its levels.
    """

    def __init__(self, channels: int, hidden: int, *, bias: bool, spatial: SpatialGate) -> None:
        super().__init__()
        self.channel = ChannelGate(channels, hidden, bias)
        self.spatial = spatial

    def forward(self, x: Tensor) -> Tensor:
        """Attend `x`, shape (N, C, H, W)."""
        return torch.relu(self.spatial(self.channel(x)) + x)
