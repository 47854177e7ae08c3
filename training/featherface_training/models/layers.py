"""Building blocks that several parts of the networks share."""

from torch import Tensor, nn

__all__ = ["channel_shuffle", "conv_bn"]


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


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Interleave the channels of `groups` groups (ShuffleNet, Zhang et al., CVPR 2018).

    Parameters
    ----------
    x : Tensor, shape (N, C, H, W)
        C must be a multiple of `groups`.
    groups : int
        Number of groups.

    Returns
    -------
    Tensor, shape (N, C, H, W)
    """
    n, c, h, w = x.shape
    # -1 for the batch and the literal channel counts keep the exported graph free of shape arithmetic
    return x.reshape(-1, groups, c // groups, h, w).transpose(1, 2).reshape(-1, c, h, w)
