"""Which heights of faces are found, where so many false alarms come with each face."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .boxes import corners, overlaps
from .ground_truth import GroundTruth, PhotoTruth
from .protocol import Predictions

__all__ = ["HEIGHTS", "compared", "confidence", "recall_by_height"]

HEIGHTS = (0, 8, 10, 12, 16, 24, 40, 80, 160, 384, 10_000)
"""Bounds of the spans, pixels."""


def compared(
    found: Predictions, truth: GroundTruth
) -> Iterator[tuple[str, PhotoTruth, NDArray[np.float64], NDArray[np.float64]]]:
    """Yield each photo's name, its faces, its detections, and their overlaps (faces, detections)."""
    for name, detections in found.items():
        photo = truth[name]
        yield name, photo, detections, overlaps(corners(photo.boxes), corners(detections)[:, :4])


def confidence(detections: NDArray[np.float64], iou: NDArray[np.float64]) -> float:
    """Return the score of the best detection that covers a face, 0 if none does."""
    return max([0.0, *detections[iou >= 0.5, 4].tolist()])


def recall_by_height(
    found: Predictions, truth: GroundTruth, scales: dict[str, float], *, alarms_per_face: float = 0.2
) -> dict[tuple[int, int], tuple[int, float]]:
    """Return how many of the hard faces of each height are found.

    Parameters
    ----------
    found : mapping
        See `Predictions`.
    truth : GroundTruth
        From `read_ground_truth`.
    scales : dict of str to float
        From `input_scales`.
    alarms_per_face : float
        The threshold is where so many false alarms come with each face that counts.

    Returns
    -------
    dict
        From lowest and highest height, pixels of the network's input, to the number of faces and the share
        that is found.
    """
    heights, hits, alarms = [], [], []
    for name, photo, detections, iou in compared(found, truth):
        for face in np.flatnonzero(photo.counted["hard"]):
            heights.append(photo.boxes[face, 3] * scales[name])
            hits.append(confidence(detections, iou[face]))
        alarms += detections[(iou < 0.5).all(0), 4].tolist()
    worst = sorted(alarms, reverse=True)
    allowed = int(len(heights) * alarms_per_face)
    threshold = worst[allowed] if allowed < len(worst) else 0.0
    tall, right = np.array(heights), np.array(hits) > threshold
    table = {}
    for low, high in pairwise(HEIGHTS):
        these = (tall >= low) & (tall < high)
        table[low, high] = (int(these.sum()), float(right[these].mean()) if these.any() else float("nan"))
    return table
