"""Building blocks that several parts of the networks share."""

import torch
from torch import Tensor, nn

__all__ = ["ChannelShuffle", "conv_bn"]


def conv_bn(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    stride: int = 1,
    groups: int = 1,
    bias: bool = False,
    activation: nn.Module | None = None,
) -> nn.Sequential:
    """Build convolution, batch normalisation and an optional activation, with "same" padding at stride 1."""
    layers: list[nn.Module] = [
        nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=kernel_size // 2,
            groups=groups,
            bias=bias,
        ),
        nn.BatchNorm2d(out_channels),
    ]
    if activation is not None:
        layers.append(activation)
    return nn.Sequential(*layers)


class ChannelShuffle(nn.Module):
    """Interleave the channels of `groups` groups (ShuffleNet, Zhang et al., CVPR 2018).

    Written as a selection of channels rather than reshape, transpose, reshape: one operator in the exported
    graph, without shape arithmetic, that copies whole planes.
    """

    order: Tensor

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        order = torch.arange(channels).reshape(groups, channels // groups).T.reshape(-1)
        self.register_buffer("order", order, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Reorder the channels of `x`, shape (N, C, H, W)."""
        if self.training and x.is_contiguous(memory_format=torch.channels_last):
            # selecting planes would leave the layout that the convolutions around it are fast in
            return x.permute(0, 2, 3, 1).index_select(3, self.order).permute(0, 3, 1, 2)
        return torch.index_select(x, 1, self.order)
