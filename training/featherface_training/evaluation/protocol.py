"""The WIDER FACE protocol: scores normalised over all photos, 1,000 thresholds, VOC-style average precision.

After the official evaluation code (eval_tools, Yang et al., CVPR 2016): greedy matching by score; a detection
that covers an ignored face counts neither way, a second detection of a found face as a false alarm.
Overlaps count the border pixel (`right - left + 1`), as the official code does.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import EvaluationError
from .ground_truth import GroundTruth, PhotoTruth

__all__ = ["DIFFICULTIES", "Curve", "Evaluation", "Predictions", "evaluate", "protocol_overlaps"]

DIFFICULTIES = ("easy", "medium", "hard")
THRESHOLDS = 1000

Predictions = Mapping[str, NDArray[np.float64]]
"""By `event/name`: shape (K, 5), left, top, width, height in pixels, and the score."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Precision over recall at one difficulty.

    Attributes
    ----------
    precision, recall : ndarray, shape (1000,), float64
        At falling thresholds; NaN precision where nothing is above the threshold.
    faces : int
        Ground-truth faces that count.
    average_precision : float
        Area under the curve.
    """

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    faces: int
    average_precision: float


Evaluation = dict[str, Curve]
"""By difficulty."""


def protocol_overlaps(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return intersection over union of boxes (A, 4) and (B, 4), left, top, width, height: shape (A, B)."""
    sides = [
        np.minimum((a[:, i] + a[:, i + 2])[:, None], b[:, i] + b[:, i + 2])
        - np.maximum(a[:, i, None], b[:, i])
        + 1
        for i in (0, 1)
    ]
    shared = np.maximum(sides[0], 0) * np.maximum(sides[1], 0)
    areas_a, areas_b = (a[:, 2:] + 1).prod(1), (b[:, 2:] + 1).prod(1)
    return shared / (areas_a[:, None] + areas_b - shared)


def _match(
    overlaps: NDArray[np.float64], counted: NDArray[np.bool_], least: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Walk down the detections and return, after each, how many counted and how many were right."""
    found = np.zeros(overlaps.shape[1], bool)
    best = overlaps.argmax(1)
    enough = overlaps[np.arange(len(best)), best] >= least
    proposals = np.ones(len(best), np.int64)
    right = np.zeros(len(best), np.int64)
    for i in np.flatnonzero(enough):
        face = best[i]
        if not counted[face]:
            proposals[i] = 0
        elif not found[face]:
            found[face] = True
            right[i] = 1
    return proposals.cumsum(), right.cumsum()


def _average_precision(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> float:
    """Area under the curve after making precision fall monotonically (PASCAL VOC 2010)."""
    recall = np.concatenate([[0.0], recall, [1.0]])
    precision = np.concatenate([[0.0], np.nan_to_num(precision), [0.0]])
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.flatnonzero(recall[1:] != recall[:-1])
    return float(((recall[steps + 1] - recall[steps]) * precision[steps + 1]).sum())


def _normalised(predictions: Predictions) -> dict[str, NDArray[np.float64]]:
    """Map all scores of all photos to 0..1 together, and sort each photo's detections by score."""
    scores = [p[:, 4] for p in predictions.values() if len(p)]
    if not scores:
        return {name: p.astype(np.float64) for name, p in predictions.items()}
    low, high = min(s.min() for s in scores), max(s.max() for s in scores)
    result = {}
    for name, detections in predictions.items():
        detections = detections[np.argsort(-detections[:, 4], kind="stable")].astype(np.float64)
        detections[:, 4] = (detections[:, 4] - low) / max(high - low, 1e-12)
        result[name] = detections
    return result


def _accumulate(
    detections: NDArray[np.float64],
    photo: PhotoTruth,
    thresholds: NDArray[np.float64],
    least: float,
) -> NDArray[np.int64]:
    """Count proposals and right ones of one photo at each difficulty and threshold: shape (3, 1000, 2)."""
    counts = np.zeros((len(DIFFICULTIES), len(thresholds), 2), np.int64)
    if not len(detections) or not len(photo.boxes):
        # as the official code does: detections on a photo without annotated faces are not counted
        return counts
    overlaps = protocol_overlaps(detections[:, :4], photo.boxes)
    above = np.searchsorted(-detections[:, 4], -thresholds, side="right")
    some = above > 0
    for row, difficulty in enumerate(DIFFICULTIES):
        proposals, right = _match(overlaps, photo.counted[difficulty], least)
        counts[row, some, 0] = proposals[above[some] - 1]
        counts[row, some, 1] = right[above[some] - 1]
    return counts


def evaluate(predictions: Predictions, truth: GroundTruth, *, iou: float = 0.5) -> Evaluation:
    """Compute precision, recall and average precision at the three difficulties.

    Parameters
    ----------
    predictions : mapping
        See `Predictions`; every photo that was looked at, also those without detections. The photos that it
        names are the data set: a part of val can be evaluated.
    truth : GroundTruth
        From `read_ground_truth`.
    iou : float
        Least overlap of a right detection.

    Returns
    -------
    Evaluation

    Raises
    ------
    EvaluationError
        If there are no predictions, or for a photo that the ground truth doesn't know.
    """
    unknown = sorted(set(predictions) - set(truth))
    if unknown or not predictions:
        raise EvaluationError(
            f"expected photos of WIDER FACE val, got {unknown[0]!r}" if unknown else "there are no photos"
        )
    predictions = _normalised(predictions)
    thresholds = 1 - np.arange(1, THRESHOLDS + 1) / THRESHOLDS
    counts = np.zeros((len(DIFFICULTIES), THRESHOLDS, 2), np.int64)
    for name, detections in predictions.items():
        counts += _accumulate(detections, truth[name], thresholds, iou)
    result: Evaluation = {}
    for difficulty, (proposals, right) in zip(DIFFICULTIES, counts.transpose(0, 2, 1), strict=True):
        faces = sum(int(truth[name].counted[difficulty].sum()) for name in predictions)
        with np.errstate(invalid="ignore"):
            precision = right / np.where(proposals, proposals, np.nan)
        recall = right / max(faces, 1)
        result[difficulty] = Curve(precision, recall, faces, _average_precision(precision, recall))
    return result
