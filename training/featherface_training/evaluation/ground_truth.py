"""The official ground truth of WIDER FACE val (Yang et al., CVPR 2016): four MATLAB files."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .errors import EvaluationError

__all__ = ["LEAST_HEIGHTS", "GroundTruth", "PhotoTruth", "by_height", "read_ground_truth"]

_FILES = {"easy": "wider_easy_val.mat", "medium": "wider_medium_val.mat", "hard": "wider_hard_val.mat"}

LEAST_HEIGHTS = {"easy": 50, "medium": 30, "hard": 10}
"""Pixels. WIDER FACE says which faces of val are easy, of train it does not; its levels follow the height."""


@dataclass(frozen=True, slots=True)
class PhotoTruth:
    """The faces of one photo.

    Attributes
    ----------
    boxes : ndarray, shape (F, 4), float64
        left, top, width, height in pixels of the published photo.
    counted : mapping of str to ndarray, shape (F,), bool
        For each difficulty, which faces count; finding one of the others is neither right nor wrong.
    """

    boxes: NDArray[np.float64]
    counted: Mapping[str, NDArray[np.bool_]]


GroundTruth = dict[str, PhotoTruth]
"""By `event/name`, without the suffix."""


def by_height(boxes: NDArray[np.float64]) -> PhotoTruth:
    """Let the faces (F, 4) of a photo, left, top, width, height in pixels, count by their height."""
    return PhotoTruth(boxes, {level: boxes[:, 3] >= least for level, least in LEAST_HEIGHTS.items()})


def read_ground_truth(folder: Path) -> GroundTruth:
    """Read `wider_{face,easy,medium,hard}_val.mat`.

    Parameters
    ----------
    folder : Path
        Holds the four files of the official evaluation tools.

    Raises
    ------
    EvaluationError
        If a file is missing.
    """
    from scipy.io import loadmat

    def load(name: str) -> dict[str, NDArray[np.object_]]:
        path = folder / name
        if not path.is_file():
            raise EvaluationError(
                f"expected {path}: the ground truth is part of WIDER FACE's evaluation tools (eval_tools)"
            )
        return loadmat(str(path))

    faces = load("wider_face_val.mat")
    levels = {difficulty: load(name)["gt_list"] for difficulty, name in _FILES.items()}
    truth: GroundTruth = {}
    for e, event in enumerate(faces["event_list"][:, 0]):
        for f, name in enumerate(faces["file_list"][e, 0][:, 0]):
            boxes = np.asarray(faces["face_bbx_list"][e, 0][f, 0], np.float64).reshape(-1, 4)
            counted = {}
            for difficulty, lists in levels.items():
                chosen = np.zeros(len(boxes), bool)
                # MATLAB counts from 1
                chosen[np.asarray(lists[e, 0][f, 0], np.int64).reshape(-1) - 1] = True
                counted[difficulty] = chosen
            truth[f"{event[0]}/{name[0]}"] = PhotoTruth(boxes, counted)
    return truth
