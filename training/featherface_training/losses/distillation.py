"""Knowledge distillation of a detector: class outputs and boxes (Hinton et al., 2015)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .matching import Matches

__all__ = ["DistillationSettings", "FeatureAdapter", "distillation_loss"]


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
        Weight of the levels that the heads see, matched to those of the first teacher of ours through a
        learned 1x1 convolution (Romero et al., FitNets, ICLR 2015).
    overlooked_weight : float
        Least weight of the teacher's class output at a prior that the labels give a face; 0 leaves a face
        that the teacher overlooks to the labels.
    """

    temperature: float = 4.0
    alpha: float = 0.7
    box_weight: float = 0.5
    landmark_weight: float = 0.0
    feature_weight: float = 0.0
    overlooked_weight: float = 1.0


def distillation_loss(
    student: tuple[Tensor, Tensor, Tensor],
    teacher: tuple[Tensor, Tensor, Tensor],
    matches: Matches,
    settings: DistillationSettings,
) -> Tensor:
    """Return the distillation loss of a batch, weighted.

    Nearly all priors are easy background on which the models agree; averaged over all of them the loss would
    vanish. Each prior counts by how much teacher or student believes in a face there; where one is, by how
    much the teacher does, and at least `overlooked_weight`.

    Parameters
    ----------
    student, teacher : tuple of Tensor
        Outputs (B, P, 2), (B, P, 4), (B, P, 10) of both models for the same batch.
    matches : Matches
        Of the batch's faces.
    settings : DistillationSettings
        Temperature and weights.
    """
    student_margin, teacher_margin = ((o[0][..., 1] - o[0][..., 0]).float() for o in (student, teacher))
    believed = torch.sigmoid(teacher_margin)
    weight = torch.where(
        matches.positive,
        believed.clamp(min=settings.overlooked_weight),
        torch.maximum(believed, torch.sigmoid(student_margin).detach()),
    )
    t = settings.temperature
    target = torch.sigmoid(teacher_margin / t)
    # Kullback-Leibler divergence: cross-entropy less the teacher's own entropy, which has no gradient
    divergence = F.binary_cross_entropy_with_logits(student_margin / t, target, reduction="none")
    classes = t * t * (divergence * weight).sum() / weight.sum().clamp(min=1)
    sure = believed * (believed > 0.5)
    loss = settings.alpha * classes
    for part, part_weight in ((1, settings.box_weight), (2, settings.landmark_weight)):
        difference = F.smooth_l1_loss(student[part].float(), teacher[part].float(), reduction="none").sum(-1)
        loss = loss + part_weight * (difference * sure).sum() / sure.sum().clamp(min=1)
    return loss


class FeatureAdapter(nn.Module):
    """Learned 1x1 convolutions from a student's levels to its teacher's.

    Parameters
    ----------
    student, teacher : int
        Channels of the levels that the heads see.
    levels : int
    """

    def __init__(self, student: int, teacher: int, levels: int = 3) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(student, teacher, 1) for _ in range(levels))

    def forward(self, student: list[Tensor], teacher: list[Tensor]) -> Tensor:
        """Return the mean squared distance of the levels (B, C, H, W), in units of the teacher's variance."""
        losses = []
        for convolution, own, other in zip(self.convolutions, student, teacher, strict=True):
            target = other.float()
            losses.append(F.mse_loss(convolution(own).float(), target) / target.var().clamp(min=1e-6))
        return torch.stack(losses).mean()
