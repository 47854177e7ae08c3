"""Starting weights for the backbone: ImageNet's, another FeatherFace's, or a freely licensed detector's."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from .models.backbone import MobileNetV1Quarter

__all__ = ["InitialisationError", "initialise_backbone"]

# what a FeatherFace calls its backbone
OURS = "backbone."


class InitialisationError(ValueError):
    """The file does not hold weights of MobileNetV1-0.25."""


def _units(backbone: MobileNetV1Quarter) -> Iterator[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    leaves = [m for m in backbone.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)]
    for conv, norm in zip(leaves[::2], leaves[1::2], strict=True):
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        yield conv, norm


def _from_state_dict(backbone: MobileNetV1Quarter, path: Path) -> None:
    saved = torch.load(path, map_location="cpu", weights_only=True)
    if "model_state_dict" in saved:
        whole = saved["model_state_dict"]
        state = {key.removeprefix(OURS): whole[key] for key in whole if key.startswith(OURS)}
    else:
        state = {key.removeprefix("module."): value for key, value in saved.get("state_dict", saved).items()}
    wanted = backbone.state_dict()
    missing = sorted(set(wanted) - set(state))
    if missing:
        raise InitialisationError(
            f"{path} lacks {len(missing)} tensors of MobileNetV1-0.25, such as {missing[0]}"
        )
    backbone.load_state_dict({key: state[key] for key in wanted})


def _from_folded_onnx(backbone: MobileNetV1Quarter, path: Path, sample: Tensor) -> None:
    """Take convolutions whose BN is folded, and give BN the statistics that undo its own normalisation.

    With identity statistics the first training step would change the function: BN then normalises by the
    batch. So each layer's output is measured on `sample`, and scale and shift are set to put it back.
    """
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(path)).graph
    tensors = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    units = list(_units(backbone))
    for (conv, norm), node in zip(units, convolutions, strict=False):
        weight, bias = (np.array(tensors[name]) for name in node.input[1:3])
        if weight.shape != tuple(conv.weight.shape):
            raise InitialisationError(
                f"{path}: expected a convolution of shape {tuple(conv.weight.shape)}, got {weight.shape} "
                f"at {node.name}"
            )
        conv.weight.data = torch.from_numpy(weight)
        norm.bias.data = torch.from_numpy(bias)

    def measure(norm: nn.BatchNorm2d, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0]
        norm.running_mean = x.mean((0, 2, 3))
        norm.running_var = x.var((0, 2, 3), unbiased=False)
        norm.weight.data = (norm.running_var + norm.eps).sqrt()
        norm.bias.data = norm.bias.data + norm.running_mean

    hooks = [norm.register_forward_pre_hook(measure) for _, norm in units]
    backbone.eval()
    with torch.no_grad():
        backbone(sample)
    for hook in hooks:
        hook.remove()
    backbone.train()


def initialise_backbone(backbone: MobileNetV1Quarter, path: Path, sample: Tensor) -> None:
    """Load starting weights into a backbone.

    Parameters
    ----------
    backbone : MobileNetV1Quarter
        Changed in place.
    path : Path
        A PyTorch checkpoint with BN (ImageNet's), a checkpoint of a FeatherFace, or an `.onnx` detector whose
        first 27 convolutions are this backbone with BN folded into them.
    sample : Tensor, shape (N, 3, S, S)
        A batch of normalised training images, to measure BN statistics on.

    Raises
    ------
    InitialisationError
        If the file holds something else.
    """
    if path.suffix == ".onnx":
        _from_folded_onnx(backbone, path, sample)
    else:
        _from_state_dict(backbone, path)
