"""Accuracy on WIDER FACE by the official protocol. Needs neither torch nor a GPU."""

from .ground_truth import GroundTruth, PhotoTruth, read_ground_truth
from .protocol import DIFFICULTIES, Curve, Evaluation, evaluate

__all__ = [
    "DIFFICULTIES",
    "Curve",
    "Evaluation",
    "GroundTruth",
    "PhotoTruth",
    "evaluate",
    "read_ground_truth",
]
