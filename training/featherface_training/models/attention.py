"""CBAM: channel and spatial attention (Woo et al., ECCV 2018)."""

import torch
from torch import Tensor, nn

from .layers import conv_bn

__all__ = ["CBAM", "ChannelGate", "SpatialGate"]


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
        average = x.mean((2, 3), keepdim=True)
        maximum = x.amax((2, 3), keepdim=True)
        return x * torch.sigmoid(self.mlp(average) + self.mlp(maximum))


class SpatialGate(nn.Module):
    """Spatial attention: a 7x7 convolution and BN on the maximum and the mean over channels, sigmoid."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = conv_bn(2, 1, 7)

    def forward(self, x: Tensor) -> Tensor:
        """Scale the positions of `x`, shape (N, C, H, W)."""
        pooled = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], 1)
        return x * torch.sigmoid(self.conv(pooled))


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
