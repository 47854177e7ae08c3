"""The last two layers towards a model's class outputs."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..models.featherface import FeatherFace
from ..models.heads import LevelHead

__all__ = ["Tail", "tails"]


@dataclass(frozen=True, slots=True)
class Tail:
    """At one stride, a dense 3x3 convolution, normalisation, ReLU, and the heads, which are linear.

    Of V1 the convolution is the context module's; of Nano that of the heads' stem.

    Attributes
    ----------
    name : str
        Of the convolution's weights, (K, C, 3, 3), in the model and in its exported graph.
    convolution : nn.Conv2d
    normalisation : nn.BatchNorm2d
    order : Tensor, shape (K,), int64
        Which of its channels the heads see in turn.
    head : LevelHead
    """

    name: str
    convolution: nn.Conv2d
    normalisation: nn.BatchNorm2d
    order: Tensor
    head: LevelHead


def tails(model: FeatherFace) -> list[Tail]:
    """Return the tails of strides 8, 16 and 32; their layers are the model's own."""
    names = {module: name for name, module in model.named_modules()}
    found = []
    for head, context in zip(model.heads, model.context, strict=True):
        layers = context.conv if model.name == "v1" else head.stem
        convolution, normalisation = layers[0], layers[1]
        order = torch.arange(convolution.out_channels)
        if model.name == "v1":
            order = context.shuffle(order.float().view(1, -1, 1, 1)).view(-1).long()
        found.append(Tail(f"{names[convolution]}.weight", convolution, normalisation, order, head))
    return found
