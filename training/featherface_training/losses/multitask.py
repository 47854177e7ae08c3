"""The multi-task loss: classification, boxes, landmarks (Deng et al., RetinaFace, CVPR 2020)."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from .matching import Matches, Strategy, corner_boxes, intersection_over_union, overlap

__all__ = ["LossSettings", "Losses", "decode_boxes", "encode_boxes", "encode_landmarks", "multitask_loss"]

CENTRE_VARIANCE, SIZE_VARIANCE = 0.1, 0.2


@dataclass(frozen=True, slots=True)
class LossSettings:
    """Settings of `multitask_loss`.

    Attributes
    ----------
    matching : {"iou", "atss", "simota"}
        See `match`.
    classification : {"ohem", "focal", "quality"}
        Cross-entropy over the positives and the hardest negatives (`negatives_per_positive` an image); focal
        loss over all priors (Lin et al., ICCV 2017; alpha 0.25, gamma 2); or quality focal loss (Li et al.,
        NeurIPS 2020; beta 2), whose target for a positive is how well its box overlaps the face.
    box : {"smooth_l1", "giou", "diou", "eiou"}
        On encoded values, or on decoded boxes: generalised IoU (Rezatofighi et al., CVPR 2019), distance-IoU
        (Zheng et al., AAAI 2020), efficient IoU (Zhang et al., Neurocomputing 2022).
    landmark : {"smooth_l1", "wing"}
        On encoded values; wing loss (Feng et al., CVPR 2018; w 2, epsilon 0.5) weighs small errors more.
    classification_weight, box_weight, landmark_weight : float
        At 0, classification is left to a teacher or to `RankingSettings`.
    outside : float
        How many pixels beside a face a prior's centre may lie and still be matched to it by "atss" or
        "simota".
    spare : float
        See `match`; 1 spares none.
    balance : float
        Positives count by the number of positives that their face has, to the power of minus this; together
        they count as before. At 0 a large face, with its many priors, outweighs small ones; at 1 each face
        counts alike.
    """

    matching: Strategy = "iou"
    classification: Literal["ohem", "focal", "quality"] = "ohem"
    negatives_per_positive: int = 7
    box: Literal["smooth_l1", "giou", "diou", "eiou"] = "diou"
    landmark: Literal["smooth_l1", "wing"] = "smooth_l1"
    classification_weight: float = 1.0
    box_weight: float = 2.0
    landmark_weight: float = 1.0
    outside: float = 0.0
    spare: float = 1.0
    balance: float = 0.0


@dataclass(frozen=True, slots=True)
class Losses:
    """The parts, each a scalar Tensor, unweighted."""

    classification: Tensor
    box: Tensor
    landmark: Tensor


def encode_boxes(boxes: Tensor, priors: Tensor) -> Tensor:
    """Encode corner boxes (K, 4) against their priors (K, 4): the inverse of the deployed decoding."""
    centre = ((boxes[:, :2] + boxes[:, 2:]) / 2 - priors[:, :2]) / (CENTRE_VARIANCE * priors[:, 2:])
    size = ((boxes[:, 2:] - boxes[:, :2]).clamp(min=1e-3) / priors[:, 2:]).log() / SIZE_VARIANCE
    return torch.cat([centre, size], 1)


def decode_boxes(encoded: Tensor, priors: Tensor) -> Tensor:
    """Decode (..., P, 4) against priors (P, 4) into corner boxes in pixels."""
    centre = priors[..., :2] + encoded[..., :2] * CENTRE_VARIANCE * priors[..., 2:]
    # the clamp keeps an early, wild prediction from overflowing; e^4 is 55 times the prior
    size = priors[..., 2:] * (encoded[..., 2:] * SIZE_VARIANCE).clamp(max=4).exp()
    return corner_boxes(torch.cat([centre, size], -1))


def encode_landmarks(landmarks: Tensor, priors: Tensor) -> Tensor:
    """Encode landmarks (K, 10) in pixels against their priors (K, 4)."""
    points = landmarks.view(-1, 5, 2)
    encoded = (points - priors[:, None, :2]) / (CENTRE_VARIANCE * priors[:, None, 2:])
    return encoded.reshape(-1, 10)


def _iou_loss(predicted: Tensor, target: Tensor, kind: str) -> Tensor:
    shared, union = overlap(predicted, target)
    iou = shared / union.clamp(min=1e-9)
    hull = torch.maximum(predicted[:, 2:], target[:, 2:]) - torch.minimum(predicted[:, :2], target[:, :2])
    if kind == "giou":
        area = hull.prod(1).clamp(min=1e-9)
        return 1 - iou + (area - union) / area
    gap = (predicted[:, :2] + predicted[:, 2:] - target[:, :2] - target[:, 2:]) / 2
    loss = 1 - iou + gap.square().sum(1) / hull.square().sum(1).clamp(min=1e-9)
    if kind == "eiou":
        sides = (predicted[:, 2:] - predicted[:, :2]) - (target[:, 2:] - target[:, :2])
        loss = loss + (sides.square() / hull.square().clamp(min=1e-9)).sum(1)
    return loss


def _wing(predicted: Tensor, target: Tensor, width: float = 2.0, epsilon: float = 0.5) -> Tensor:
    error = (predicted - target).abs()
    curved = width * (1 + error / epsilon).log()
    return torch.where(error < width, curved, error - width + width * math.log1p(width / epsilon))


def _shares(face: Tensor, balance: float) -> Tensor:
    """Return the weights (K,) of positives, given the face of each; their mean is 1."""
    if not balance or not len(face):
        return torch.ones(len(face), device=face.device)
    share = face.bincount().to(torch.float32)[face] ** -balance
    return share * (len(face) / share.sum())


def _classification(
    logits: Tensor, matches: Matches, quality: Tensor, share: Tensor, settings: LossSettings
) -> Tensor:
    """Sum over the batch; `quality` and `share` are IoU and weight of `matches.positive.nonzero()`."""
    positive, negative = matches.positive, matches.negative
    margin = logits[..., 1] - logits[..., 0]
    if settings.classification == "ohem":
        hardness = torch.where(negative, F.softplus(margin), -1.0)
        # an image without faces still teaches: it contributes as if it had one
        wanted = settings.negatives_per_positive * positive.sum(1).clamp(min=1)
        most = min(int(wanted.max()), hardness.shape[1])
        hardest = hardness.topk(most, dim=1).values
        chosen = (torch.arange(most, device=margin.device)[None] < wanted[:, None]) & (hardest >= 0)
        return (F.softplus(-margin[positive]) * share).sum() + hardest[chosen].sum()
    target = positive.float()
    weight = torch.where(positive, 0.25, 0.75)
    if settings.classification == "quality":
        target[positive] = quality
        weight = torch.ones_like(target)
    weight[positive] *= share
    loss = F.binary_cross_entropy_with_logits(margin, target, reduction="none")
    missed = (torch.sigmoid(margin) - target).abs()
    return (loss * missed.square() * weight)[positive | negative].sum()


def multitask_loss(
    outputs: tuple[Tensor, Tensor, Tensor],
    priors: Tensor,
    boxes: Tensor,
    landmarks: Tensor,
    matches: Matches,
    settings: LossSettings,
) -> Losses:
    """Compute the loss of a batch, each part divided by the number of positives it is summed over.

    Parameters
    ----------
    outputs : tuple of Tensor
        The model's: (B, P, 2), (B, P, 4), (B, P, 10).
    priors : Tensor, shape (P, 4)
        cx, cy, w, h in pixels.
    boxes, landmarks : Tensor, shapes (M, 4) and (M, 10)
        The batch's faces; landmarks NaN where unknown, and then without loss.
    matches : Matches
        Of these faces.
    settings : LossSettings
        Which losses, and their weights.
    """
    logits, encoded_boxes, encoded_landmarks = (o.float() for o in outputs)
    positive = matches.positive
    count = positive.sum().clamp(min=1)
    image, prior = positive.nonzero(as_tuple=True)
    face = matches.face[image, prior]
    its_priors, its_boxes = priors[prior], boxes[face]
    predicted = encoded_boxes[image, prior]
    decoded = decode_boxes(predicted, its_priors)
    if settings.box == "smooth_l1":
        wrong = F.smooth_l1_loss(predicted, encode_boxes(its_boxes, its_priors), reduction="none").sum(1)
    else:
        wrong = _iou_loss(decoded, its_boxes, settings.box)
    share = _shares(face, settings.balance)
    box = (wrong * share).sum() / count
    its_landmarks = landmarks[face]
    known = its_landmarks.isfinite().all(1)
    found, wanted = (
        encoded_landmarks[image, prior][known],
        encode_landmarks(its_landmarks[known], its_priors[known]),
    )
    if settings.landmark == "wing":
        errors = _wing(found, wanted)
    else:
        errors = F.smooth_l1_loss(found, wanted, reduction="none")
    landmark = errors.sum() / known.sum().clamp(min=1)
    quality = intersection_over_union(decoded.detach(), its_boxes)
    classification = _classification(logits, matches, quality, share, settings)
    return Losses(classification / count, box, landmark)
