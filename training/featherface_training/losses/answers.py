"""Confidence learned from a detector without the student's priors: it answers for the student's boxes."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .distillation import DistillationSettings, Outputs, longer_sides, margins, softened_divergence
from .matching import Matches, intersection_over_union

__all__ = ["Detections", "answers_loss"]

# below it a student's box is none that could be reported
LEAST_BELIEF = 0.02
# least confidence of an answer: its logit is finite
LEAST_ANSWER = 0.005
# a box that overlaps a detection so little is none of it, and so much is as good as its own
NO_FIT, FULL_FIT = 0.3, 0.8


@dataclass(frozen=True, slots=True)
class Detections:
    """What the detector finds in one image.

    Attributes
    ----------
    boxes : Tensor, shape (N, 4), float32
        Corners in pixels of the student's image.
    scores : Tensor, shape (N,), float32
    """

    boxes: Tensor
    scores: Tensor


def _answers(boxes: Tensor, found: Detections) -> Tensor:
    """Return how much the detector believes in boxes (K, 4), shape (K,): what it finds there, as it fits."""
    if not len(found.boxes):
        return boxes.new_zeros(len(boxes))
    fit = ((intersection_over_union(boxes[:, None], found.boxes) - NO_FIT) / (FULL_FIT - NO_FIT)).clamp(0, 1)
    return (fit * found.scores).amax(1)


def _say(
    boxes: Tensor, found: Detections, of_large: Detections | None, settings: DistillationSettings
) -> tuple[Tensor, Tensor]:
    """Return what is believed of boxes (K, 4), and who of them is nobody's business, shape (K,) each."""
    said, sides = _answers(boxes, found), longer_sides(boxes)
    small = sides <= settings.answers_up_to
    if of_large is None:
        return said, ~small
    large = sides >= settings.large_answers_from
    other = _answers(boxes, of_large)
    return torch.where(large, torch.where(small, (said + other) / 2, other), said), ~(small | large)


def answers_loss(
    student: Outputs,
    corners: Tensor,
    found: Sequence[Detections],
    matches: Matches,
    faces: Tensor,
    owners: Tensor,
    settings: DistillationSettings,
    found_large: Sequence[Detections] | None = None,
) -> Tensor:
    """Return the divergence of the student's confidence in its boxes from the detector's, a scalar.

    The detector is asked where the student is to find a face or believes in one. Its answer is the score of
    what it finds there, less for a box that lies beside it, as the labels' quality is (Li et al., Generalized
    Focal Loss, NeurIPS 2020). It has no say in four cases. A labelled face that it overlooks stays with the
    labels, and so does which of a labelled face's priors is to find it. Where they know of no face, it may,
    by `answers_doubt`, doubt one, but not see one: it takes many an animal's head for a person's. And boxes
    may be too large for it: seen enlarged, it is no better than the student at large faces.

    Parameters
    ----------
    student : tuple of Tensor
        Outputs (B, P, 2), (B, P, 4), (B, P, 10).
    corners : Tensor, shape (B, P, 4)
        The student's boxes, corners in pixels.
    found : sequence of Detections
        Of each image.
    matches : Matches
        Of the batch's faces.
    faces, owners : Tensor, shapes (M, 4) and (M,)
        Labelled faces, corners in pixels, and the image of each.
    settings : DistillationSettings
        Its temperature softens both confidences (Hinton et al., 2015); `answers_up_to` says which boxes are
        too large; `answers_doubt` and `large_answers_from` are read, too.
    found_large : sequence of Detections or None
        Of each image, by a detector that is asked about boxes of `large_answers_from` and more.
    """
    margin = margins(student)
    belief = torch.sigmoid(margin).detach()
    asked = matches.positive | (belief > LEAST_BELIEF)
    answer, weight = torch.zeros_like(belief), torch.zeros_like(belief)
    for image, its in enumerate(found):
        priors = asked[image].nonzero()[:, 0]
        boxes, wanted = corners[image, priors].detach(), matches.positive[image, priors]
        said, unasked = _say(boxes, its, found_large[image] if found_large else None, settings)
        labelled = faces[owners == image]
        beside = torch.zeros_like(wanted)
        if len(labelled):
            beside = ~wanted & (intersection_over_union(boxes[:, None], labelled).amax(1) > NO_FIT)
        answer[image, priors] = said
        heard = torch.where(wanted, said, torch.maximum(said, belief[image, priors]))
        unheard = beside | unasked
        if settings.answers_doubt:
            unheard |= matches.negative[image, priors] & (said > belief[image, priors])
        weight[image, priors] = heard.masked_fill(unheard, 0.0)
    said = torch.logit(answer.clamp(min=LEAST_ANSWER))
    return softened_divergence(margin, said, weight, settings.temperature)
