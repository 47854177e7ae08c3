"""Knowledge distillation of a detector: class outputs and boxes (Hinton et al., 2015)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .matching import Matches

__all__ = ["DistillationSettings", "distillation_loss"]


@dataclass(frozen=True, slots=True)
class DistillationSettings:
    """Settings of `distillation_loss`.

    Attributes
    ----------
    temperature : float
        Softens both models' class outputs.
    alpha : float
        Weight of the teacher's class outputs; the labels' loss keeps weight 1.
    box_weight : float
        Weight of the teacher's boxes.
    """

    temperature: float = 4.0
    alpha: float = 0.7
    box_weight: float = 0.5


def distillation_loss(
    student: tuple[Tensor, Tensor, Tensor],
    teacher: tuple[Tensor, Tensor, Tensor],
    matches: Matches,
    settings: DistillationSettings,
) -> Tensor:
    """Return the distillation loss of a batch, weighted.

    Nearly all priors are easy background on which the models agree; averaged over all of them the loss would
    vanish. Each prior counts by how much teacher or student believes in a face there, or 1 where one is.

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
    weight = torch.maximum(
        torch.maximum(believed, torch.sigmoid(student_margin).detach()), matches.positive.float()
    )
    t = settings.temperature
    target = torch.sigmoid(teacher_margin / t)
    # Kullback-Leibler divergence: cross-entropy less the teacher's own entropy, which has no gradient
    divergence = F.binary_cross_entropy_with_logits(student_margin / t, target, reduction="none")
    classes = t * t * (divergence * weight).sum() / weight.sum().clamp(min=1)
    difference = F.smooth_l1_loss(student[1].float(), teacher[1].float(), reduction="none").sum(-1)
    sure = believed * (believed > 0.5)
    boxes = (difference * sure).sum() / sure.sum().clamp(min=1)
    return settings.alpha * classes + settings.box_weight * boxes
