"""Building blocks that several parts of the networks share."""

from itertools import pairwise
from typing import TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["ChannelShuffle", "Layers", "conv_bn"]


class Layers(nn.Sequential):
    """Layers in turn; in training, a normalisation by fixed statistics is part of the convolution before it.

    Such a normalisation only scales and shifts channels. Multiplied into the convolution's weights the result
    and all gradients are the same, and each spares passes over the features.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Run the layers on `x`, shape (N, C, H, W)."""
        if not (self.training and torch.is_grad_enabled()):
            return super().forward(x)  # type: ignore[no-any-return]
        done = False
        for layer, following in pairwise((*self, None)):
            if done:
                done = False
            elif isinstance(layer, nn.Conv2d) and _is_fixed(following):
                x, done = _convolve_normalised(layer, following, x), True
            else:
                x = layer(x)
        return x


def _is_fixed(layer: nn.Module | None) -> TypeGuard[nn.BatchNorm2d]:
    return isinstance(layer, nn.BatchNorm2d) and not layer.training


def _convolve_normalised(convolution: nn.Conv2d, normalisation: nn.BatchNorm2d, x: Tensor) -> Tensor:
    mean, variance = normalisation.running_mean, normalisation.running_var
    assert mean is not None
    assert variance is not None
    scale = normalisation.weight * torch.rsqrt(variance + normalisation.eps)
    centre = mean if convolution.bias is None else mean - convolution.bias
    weight, bias = convolution.weight * scale[:, None, None, None], normalisation.bias - centre * scale
    stride, padding, groups = convolution.stride, convolution.padding, convolution.groups
    if x.dtype == torch.bfloat16 and x.device.type == "cpu" and groups > 1 and max(stride) > 1:
        # CPUs have no quick gradient of these in bfloat16: V1's passes are a twentieth shorter this way
        with torch.autocast("cpu", enabled=False):
            return F.conv2d(x.float(), weight, bias, stride, padding, groups=groups).to(x.dtype)
    return F.conv2d(x, weight, bias, stride, padding, groups=groups)


def conv_bn(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    stride: int = 1,
    groups: int = 1,
    bias: bool = False,
    activation: nn.Module | None = None,
) -> Layers:
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
    return Layers(*layers)


class ChannelShuffle(nn.Module):
    """Interleave the channels of `groups` groups (ShuffleNet, Zhang et al., CVPR 2018).

    Written as a selection of channels rather than reshape, transpose, reshape: one operator in the exported
    graph, without shape arithmetic, that copies whole planes.
    """

    order: Tensor

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        order = torch.arange(channels).reshape(groups, channels // groups).T.reshape(-1)
        self.register_buffer("order", order, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Reorder the channels of `x`, shape (N, C, H, W)."""
        if self.training:
            # selecting planes would leave the layout that the convolutions around it are fast in
            grouped = x.permute(0, 2, 3, 1).unflatten(3, (self.groups, -1))
            return grouped.transpose(3, 4).flatten(3).permute(0, 3, 1, 2)
        return torch.index_select(x, 1, self.order)
