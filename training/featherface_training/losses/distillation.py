"""Knowledge distillation of a detector: class outputs, boxes (Hinton et al., 2015) and features."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models.heads import PRIORS_PER_CELL
from .matching import Matches

__all__ = [
    "DistillationSettings",
    "FeatureAdapter",
    "FeatureTeachers",
    "Outputs",
    "distillation_loss",
    "focus_on_faces",
    "longer_sides",
    "margins",
    "softened_divergence",
]

Outputs = tuple[Tensor, Tensor, Tensor]
FeatureTeachers = Literal["ours", "others", "all"]


@dataclass(frozen=True, slots=True)
class DistillationSettings:
    """Settings of `distillation_loss`.

    Attributes
    ----------
    temperature : float
        Softens both models' class outputs.
    alpha : float
        Weight of the teacher's class outputs; the labels' loss keeps weight 1.
    box_weight, landmark_weight : float
        Weights of the teacher's boxes and landmarks, where it believes in a face.
    feature_weight : float
        Weight of the levels that the heads see, from which learned 1x1 convolutions predict those of the
        teachers (Romero et al., FitNets, ICLR 2015).
    feature_teachers : {"ours", "others", "all"}
        Whose levels: those of the first FeatherFace among the teachers, of every other network, or of all.
    feature_focus : float
        How much of that weight goes to cells where the labels have a face, or teacher or student believe in
        one; the rest goes to all cells alike.
    keep_adapter : bool
        Whether these convolutions go on from those of the checkpoint that the run starts from, rather than
        from zero.
    overlooked_weight : float
        Least weight of the teacher's class output at a prior that the labels give a face; 0 leaves a face
        that the teacher overlooks to the labels.
    classes_from : int
        Least longer side, pixels of the crop, of the student's boxes on which the teacher's class outputs are
        heard; 0 for all.
    mirror : bool
        Whether every FeatherFace among the teachers looks at the crops in the mirror as well: it teaches the
        mean of what it says of both, see `featherface.mirror`, and the levels of its first look.
    enlarge : int
        How many times as large as the student YuNet sees the crops. Each of its cells is smaller then, and
        the student learns all of those that make up its own.
    answers_weight : float
        Weight of YuNet's confidence in the student's boxes, see `answers_loss`.
    answers_up_to : int
        Longer side of these boxes, pixels of the crop; larger ones are none of its business.
    answers_doubt : bool
        Whether, where the labels know of no face, who answers is heard only if it believes in one less than
        the student does.
    large_answers_from : int
        Least longer side, pixels of the crop, of the boxes for which CenterFace answers, or a RetinaFace in
        its place, in the mean with YuNet where both do. At 0 it is not asked: CenterFace teaches its level
        instead, RetinaFace its outputs.
    """

    temperature: float = 4.0
    alpha: float = 0.7
    box_weight: float = 0.5
    landmark_weight: float = 0.0
    feature_weight: float = 0.0
    feature_teachers: FeatureTeachers = "ours"
    feature_focus: float = 0.0
    keep_adapter: bool = False
    overlooked_weight: float = 1.0
    classes_from: int = 0
    mirror: bool = False
    enlarge: int = 1
    answers_weight: float = 0.0
    answers_up_to: int = 224
    answers_doubt: bool = False
    large_answers_from: int = 0

    def __post_init__(self) -> None:
        if self.enlarge < 1:
            raise ValueError(f"expected enlarge of at least 1, got {self.enlarge}")


def margins(outputs: Outputs) -> Tensor:
    """Return how far the logit of a face lies above that of none, shape (B, P), float32."""
    return outputs[0][..., 1].float() - outputs[0][..., 0].float()


def longer_sides(corners: Tensor) -> Tensor:
    """Return the longer sides of boxes (..., 4) given by their corners, shape (...)."""
    return (corners[..., 2:] - corners[..., :2]).amax(-1)


def softened_divergence(margin: Tensor, other: Tensor, weight: Tensor, temperature: float) -> Tensor:
    """Return the Kullback-Leibler divergence of softened confidences (Hinton et al., 2015), a scalar.

    Parameters
    ----------
    margin, other : Tensor, shape (B, P), float32
        How far the student's logit of a face lies above that of none, and that of who teaches it.
    weight : Tensor, shape (B, P)
        Of each prior in the mean.
    temperature : float
    """
    target = torch.sigmoid(other / temperature)
    crossed = F.binary_cross_entropy_with_logits(margin / temperature, target, reduction="none")
    # not by `binary_cross_entropy`, which CUDA's autocast refuses
    divergence = crossed - torch.special.entr(target) - torch.special.entr(1 - target)
    return temperature**2 * (divergence * weight).sum() / weight.sum().clamp(min=1)


def _beliefs(student: Outputs, teacher: Outputs | None, matches: Matches, least: float) -> Tensor:
    """Weigh each prior, shape (B, P): by the teacher's belief, at least `least`, where a face is labelled."""
    believed = torch.sigmoid(margins(teacher)) if teacher else torch.zeros_like(margins(student))
    return torch.where(
        matches.positive,
        believed.clamp(min=least),
        torch.maximum(believed, torch.sigmoid(margins(student)).detach()),
    )


def focus_on_faces(
    student: Outputs, teacher: Outputs | None, matches: Matches, levels: Sequence[Tensor]
) -> list[Tensor]:
    """Return how much each cell of the levels (B, C, H, W) has to do with a face, shapes (B, H, W), 0..1."""
    weight = _beliefs(student, teacher, matches, 1.0)
    cells = [level.shape[2] * level.shape[3] for level in levels]
    parts = weight.split([PRIORS_PER_CELL * count for count in cells], 1)
    return [
        part.view(len(part), *level.shape[2:], PRIORS_PER_CELL).amax(-1)
        for part, level in zip(parts, levels, strict=True)
    ]


def distillation_loss(
    student: Outputs, corners: Tensor, teacher: Outputs, matches: Matches, settings: DistillationSettings
) -> Tensor:
    """Return the distillation loss of a batch, weighted.

    Nearly all priors are easy background on which the models agree; averaged over all of them the loss would
    vanish. Each prior counts by how much teacher or student believes in a face there; where one is, by how
    much the teacher does, and at least `overlooked_weight`. Of boxes smaller than `classes_from` another may
    know more (see `answers_loss`).

    Parameters
    ----------
    student, teacher : tuple of Tensor
        Outputs (B, P, 2), (B, P, 4), (B, P, 10) of both models for the same batch.
    corners : Tensor, shape (B, P, 4)
        The student's boxes, corners in pixels.
    matches : Matches
        Of the batch's faces.
    settings : DistillationSettings
        Temperature and weights.
    """
    believed = torch.sigmoid(margins(teacher))
    weight = _beliefs(student, teacher, matches, settings.overlooked_weight)
    if settings.classes_from:
        weight = weight * (longer_sides(corners.detach()) >= settings.classes_from)
    classes = softened_divergence(margins(student), margins(teacher), weight, settings.temperature)
    sure = believed * (believed > 0.5)
    loss = settings.alpha * classes
    for part, part_weight in ((1, settings.box_weight), (2, settings.landmark_weight)):
        difference = F.smooth_l1_loss(student[part].float(), teacher[part].float(), reduction="none").sum(-1)
        loss = loss + part_weight * (difference * sure).sum() / sure.sum().clamp(min=1)
    return loss


class _SquaredDistance(torch.autograd.Function):
    """Mean over channels of the squared difference, in fewer passes than its operators take together."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, other: Tensor) -> Tensor:
        difference = own - other.float()
        ctx.save_for_backward(difference)
        ctx.dtype = own.dtype
        return difference.square().mean(1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (difference,) = ctx.saved_tensors
        scale = gradients[0][:, None] * (2 / difference.shape[1])
        return (difference * scale).to(ctx.dtype), None


class FeatureAdapter(nn.Module):
    """Learned 1x1 convolutions from a student's levels to those of its teachers.

    They start at zero, so that they learn before the student hears of them.

    Parameters
    ----------
    student : int
        Channels of the levels that its heads see.
    teachers : sequence of int
        The same of each teacher.
    levels : int
    """

    def __init__(self, student: int, teachers: Sequence[int], levels: int = 3) -> None:
        super().__init__()
        self.teachers = nn.ModuleList(
            nn.ModuleList(nn.Conv2d(student, channels, 1) for _ in range(levels)) for channels in teachers
        )
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def forward(
        self,
        student: Sequence[Tensor],
        teachers: Sequence[Sequence[Tensor]],
        focus: Sequence[Tensor] | None = None,
        share: float = 0.0,
    ) -> Tensor:
        """Return the mean squared distance of the levels, in units of the teachers' variance.

        Parameters
        ----------
        student : sequence of Tensor, shapes (B, C, H, W)
        teachers : sequence of sequence of Tensor, shapes (B, K, H, W)
            The levels of each teacher.
        focus : sequence of Tensor or None, shapes (B, H, W)
            See `focus_on_faces`.
        share : float
            How much of the loss is the mean that `focus` weighs; the rest is that over all cells.
        """
        losses = []
        for convolutions, levels in zip(self.teachers, teachers, strict=True):
            for i, (convolution, own, other) in enumerate(zip(convolutions, student, levels, strict=True)):  # type: ignore[arg-type]
                distance: Tensor = _SquaredDistance.apply(convolution(own), other)
                loss = distance.mean()
                if focus is not None:
                    focused = (distance * focus[i]).sum() / focus[i].sum().clamp(min=1)
                    loss = (1 - share) * loss + share * focused
                losses.append(loss / other.float().var().clamp(min=1e-6))
        return torch.stack(losses).mean()
