"""MobileNetV1-0.25, the backbone of both models (213,072 parameters)."""

from torch import Tensor, nn

from .layers import Layers, conv_bn

__all__ = ["MobileNetV1Quarter"]


def _depthwise_separable(in_channels: int, out_channels: int, stride: int) -> Layers:
    return Layers(
        *conv_bn(
            in_channels, in_channels, 3, stride=stride, groups=in_channels, activation=nn.LeakyReLU(0.1)
        ),
        *conv_bn(in_channels, out_channels, 1, activation=nn.LeakyReLU(0.1)),
    )


class MobileNetV1Quarter(nn.Module):
    """MobileNetV1 (Howard et al., 2017) at width 0.25, without its classifier.

    The module names are those of the published ImageNet checkpoint, so that its state dict loads as it is.
    """

    out_channels = (64, 128, 256)

    def __init__(self) -> None:
        super().__init__()
        self.stage1 = nn.Sequential(
            conv_bn(3, 8, 3, stride=2, activation=nn.LeakyReLU(0.1)),
            _depthwise_separable(8, 16, 1),
            _depthwise_separable(16, 32, 2),
            _depthwise_separable(32, 32, 1),
            _depthwise_separable(32, 64, 2),
            _depthwise_separable(64, 64, 1),
        )
        self.stage2 = nn.Sequential(
            _depthwise_separable(64, 128, 2),
            *(_depthwise_separable(128, 128, 1) for _ in range(5)),
        )
        self.stage3 = nn.Sequential(
            _depthwise_separable(128, 256, 2),
            _depthwise_separable(256, 256, 1),
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Compute the feature maps at strides 8, 16 and 32.

        Parameters
        ----------
        x : Tensor, shape (N, 3, H, W), float
            BGR, 0..255 minus the mean.

        Returns
        -------
        list of Tensor
            Shapes (N, 64, H/8, W/8), (N, 128, H/16, W/16), (N, 256, H/32, W/32).
        """
        c3 = self.stage1(x)
        c4 = self.stage2(c3)
        return [c3, c4, self.stage3(c4)]
