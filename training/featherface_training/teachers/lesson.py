"""What teachers say about a batch."""

from dataclasses import dataclass

from torch import Tensor

from ..losses.answers import Detections
from ..losses.distillation import Outputs

__all__ = ["Lesson", "TeacherError"]


class TeacherError(ValueError):
    """A file can't teach this student."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What teachers say about a batch.

    Attributes
    ----------
    outputs : tuple of Tensor or None
        Means: class logits (B, P, 2), boxes (B, P, 4), landmarks (B, P, 10). None if no teacher has the
        student's priors.
    levels : list of list of Tensor
        What their heads see, (B, C, H, W) each, of each teacher of `Ensemble.channels`.
    found, found_large : list of Detections or None
        What YuNet finds in each image, and CenterFace or RetinaFace, if they are among them and asked for it.
    """

    outputs: Outputs | None
    levels: list[list[Tensor]]
    found: list[Detections] | None
    found_large: list[Detections] | None = None
