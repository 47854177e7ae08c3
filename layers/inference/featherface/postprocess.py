"""From the network's outputs for one photo to faces in the photo's frame."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from featherface.config import Settings
from featherface.detections import BoundingBox, Detections, Face, Landmarks, Point
from featherface.errors import ProviderError
from featherface.nms import VOTING_SHARE, suppress_and_vote
from featherface.priors import decode_boxes, decode_landmarks, make_priors
from featherface.resize import Transform
from featherface.runtime import Outputs

__all__ = ["MOST_CANDIDATES", "read_outputs"]

MOST_CANDIDATES: Final = 5000
"""That go into suppression, the most confident: bounds its time on a hostile photo at a low threshold."""

# The logit of a threshold is rounded; whether a face passes is decided by the confidence that is reported.
_ROUNDING: Final = 1e-3
# Less than a pixel of a face within the photo is no face that anybody could mark.
_LEAST_SIDE: Final = 1.0


def read_outputs(outputs: Outputs, transform: Transform, settings: Settings) -> Detections:
    """Turn one photo's outputs into its faces.

    Parameters
    ----------
    outputs : tuple of ndarray of float32, shapes (P, 2), (P, 4) and (P, 10)
        Class logits, box regressions and landmark regressions, in the order of
        `featherface.priors.make_priors`.
    transform : Transform
        Of the photo.
    settings : Settings
        Thresholds and the number of faces are read.

    Returns
    -------
    Detections
        What soft suppression leaves. Where a face lies is the mean of what the candidates say that agree on
        it (both in `featherface.nms.suppress_and_vote`), weighted by the squares of their confidences, be
        these above the threshold or not: a threshold moves no face. At most 5,000 candidates go into
        suppression, the most confident. Boxes are clipped to the photo; one of which less than a pixel
        remains in either direction is dropped.

    Raises
    ------
    ProviderError
        An output is not finite.
    """
    logits, boxes, landmarks = outputs
    # Softmax over two classes is the logistic function of their difference.
    margins = logits[:, 1].astype(np.float64) - logits[:, 0]
    if not (np.isfinite(margins).all() and np.isfinite(boxes).all() and np.isfinite(landmarks).all()):
        raise ProviderError("the network's outputs are not finite: the execution provider computes wrongly")
    # Only what may vote is decoded: a few priors of thousands.
    threshold = settings.confidence_threshold
    kept = np.flatnonzero(margins >= _logit(VOTING_SHARE * threshold) - _ROUNDING)
    # The logistic function, in a form that does not overflow.
    confidences = 0.5 + 0.5 * np.tanh(margins[kept] / 2.0)
    if kept.size > MOST_CANDIDATES:
        strongest = np.argsort(-confidences, kind="stable")[:MOST_CANDIDATES]
        kept, confidences = kept[strongest], confidences[strongest]
    priors = make_priors(*transform.bucket)[kept]
    corners = decode_boxes(boxes[kept], priors)
    elected = suppress_and_vote(
        corners, confidences, settings.nms_threshold, least=threshold, limit=settings.max_detections
    )
    left = np.array([one.score for one in elected])
    said = np.concatenate([corners, decode_landmarks(landmarks[kept], priors)], axis=1)
    agreed = transform.to_photo(_mean(said, confidences**2, [one.voters for one in elected]))
    corners_in_photo, points = agreed[:, :4], agreed[:, 4:]
    faces = _faces(left, corners_in_photo, points, transform.width, transform.height)
    return Detections(transform.width, transform.height, faces)


def _mean(
    values: npt.NDArray[np.float32], weights: npt.NDArray[np.float64], groups: list[npt.NDArray[np.intp]]
) -> npt.NDArray[np.float64]:
    """Return the weighted mean of each group of rows."""
    if not groups:
        return np.empty((0, values.shape[1]))
    rows = np.concatenate(groups)
    sizes = np.array([len(group) for group in groups])
    starts = np.cumsum(sizes) - sizes
    sums = np.add.reduceat(values[rows] * weights[rows, None], starts, axis=0)
    # Confidences may be zero where the threshold is, too.
    means = sums / np.maximum(np.add.reduceat(weights[rows], starts), np.finfo(np.float64).tiny)[:, None]
    # Alone, a row stays what it is, to the last bit.
    alone = sizes == 1
    means[alone] = values[rows[starts[alone]]]
    return np.asarray(means)


def _faces(
    confidences: npt.NDArray[np.float64],
    corners: npt.NDArray[np.float64],
    points: npt.NDArray[np.float64],
    width: int,
    height: int,
) -> tuple[Face, ...]:
    """Clip boxes to the photo and drop what lies outside of it."""
    clipped = np.clip(corners, 0.0, [width, height, width, height])
    sides = clipped[:, 2:] - clipped[:, :2]
    faces = []
    for row in np.flatnonzero((sides >= _LEAST_SIDE).all(axis=1)):
        left, top = clipped[row, :2].tolist()
        across, down = sides[row].tolist()
        x, y = points[row, 0::2].tolist(), points[row, 1::2].tolist()
        landmarks = Landmarks(*(Point(*pair) for pair in zip(x, y, strict=True)))
        faces.append(Face(float(confidences[row]), BoundingBox(left, top, across, down), landmarks))
    return tuple(faces)


def _logit(probability: float) -> float:
    if probability <= 0.0:
        return -math.inf
    return math.inf if probability >= 1.0 else math.log(probability / (1.0 - probability))
