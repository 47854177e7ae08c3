"""Several teachers as one."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from featherface.mirror import averaged

from ..checkpoint import load_model
from ..losses.distillation import FeatureTeachers, Outputs, margins
from ..models.featherface import FeatherFace
from .foreign import ForeignTeacher
from .lesson import Lesson, TeacherError

__all__ = ["Ensemble"]


def _both_looks(outputs: Outputs, of_mirrored: Outputs, images: Tensor) -> Outputs:
    """Return what is said of images (B, 3, S, S) on average with what is said of them in the mirror."""
    ours, theirs = (tuple(part.float().cpu().numpy() for part in said) for said in (outputs, of_mirrored))
    bucket = (images.shape[-2], images.shape[-1])
    classes, boxes, landmarks = (
        torch.from_numpy(a).to(images.device) for a in averaged(ours, theirs, bucket)
    )
    return classes, boxes, landmarks


class Ensemble:
    """Several teachers as one: means of their outputs, and the levels of each.

    Parameters
    ----------
    paths : sequence of Path
        Checkpoints of ours, or `.onnx` files (see `ForeignTeacher`).
    device : torch.device
        Of the batches.
    features : {"ours", "others", "all"} or None
        Who teaches levels too: the first FeatherFace, those in ONNX, every teacher, or nobody.
    enlarge, answers, large_answers
        Of `ForeignTeacher`.
    mirror : bool
        Whether our own look at each image in the mirror as well, and say the mean of both.

    Attributes
    ----------
    channels : list of int
        Of the levels, of each teacher of levels: FeatherFaces first.

    Raises
    ------
    TeacherError, CheckpointError
        If a file can't teach, none of them has the student's priors or is YuNet with its answers, or answers
        are asked for and YuNet, or for those about large faces either CenterFace or a RetinaFace, is not
        there.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        device: torch.device,
        features: FeatureTeachers | None = None,
        enlarge: int = 1,
        *,
        answers: bool = False,
        large_answers: bool = False,
        mirror: bool = False,
    ) -> None:
        self._mirror = mirror
        self.ours: list[FeatherFace] = []
        self.foreign: list[ForeignTeacher] = []
        for path in paths:
            if path.suffix == ".onnx":
                self.foreign.append(
                    ForeignTeacher(
                        path,
                        features=features in ("others", "all"),
                        answers=answers,
                        large_answers=large_answers,
                        enlarge=enlarge,
                    )
                )
            else:
                model = load_model(path)[0].to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
                self.ours.append(model.eval().requires_grad_(False))
        if not self.ours and not any(teacher.has_priors or teacher.finds for teacher in self.foreign):
            raise TeacherError(
                f"expected one with the student's priors, a FeatherFace or a RetinaFace, beside {paths[0]}, "
                "or YuNet and an answers_weight"
            )
        if answers and not any(teacher.finds for teacher in self.foreign):
            raise TeacherError("answers_weight needs YuNet among the teachers: set it to 0 or add that one")
        if large_answers and not (answers and sum(teacher.finds_large for teacher in self.foreign) == 1):
            raise TeacherError(
                "large_answers_from needs answers_weight and, among the teachers, either CenterFace or a "
                "RetinaFace in ONNX: set it to 0, or add what is missing, or leave one out"
            )
        # how many of ours teach levels
        self._teach = {None: 0, "ours": 1, "others": 0, "all": len(self.ours)}[features]
        self.channels = [model.width for model in self.ours[: self._teach]]
        self.channels += [teacher.channels for teacher in self.foreign if teacher.channels]

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Lesson:
        """Look at normalised images (B, 3, S, S)."""
        outputs: list[Outputs] = []
        taught: list[list[Tensor]] = []
        for model in self.ours:
            levels = model.features(images)
            taught.append(levels)
            said: Outputs = model.predict(levels)
            if self._mirror:
                said = _both_looks(said, model(images.flip(-1)), images)
            outputs.append(said)
        del taught[self._teach :]
        found = found_large = None
        for teacher in self.foreign:
            lesson = teacher(images)
            taught += [levels for levels in lesson.levels if levels]
            if lesson.outputs is not None:
                outputs.append(lesson.outputs)
            found, found_large = lesson.found or found, lesson.found_large or found_large
        if not outputs:
            return Lesson(None, taught, found, found_large)
        # margins, not logits: only the difference of the two classes means anything
        margin = torch.stack([margins(o) for o in outputs]).mean(0)
        logits = torch.stack([torch.zeros_like(margin), margin], -1)
        boxes, landmarks = (torch.stack([o[i].float() for o in outputs]).mean(0) for i in (1, 2))
        return Lesson((logits, boxes, landmarks), taught, found, found_large)
