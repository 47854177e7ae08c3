"""Errors of the evaluation."""

__all__ = ["EvaluationError"]


class EvaluationError(ValueError):
    """The photos, the ground truth or the detector is not what was expected."""
