"""Average precision that has a gradient."""

import torch
from torch import Tensor

__all__ = ["LEAST_BEST", "RIGHT", "SUPPRESSED", "smooth_average_precision"]

LEAST_BEST = -3.7
"""The margin of a confidence of 0.024: detections below it move average precision by nothing."""

SUPPRESSED, RIGHT = 0.4, 0.5
"""Overlaps beyond which a better detection suppresses another, here at once, and from which one is right."""

# margins of confidences of 0.0067 and 0.9997
_LOW, _HIGH, _BINS = -5.0, 8.0, 500


def smooth_average_precision(margins: Tensor, right: Tensor, false: Tensor, faces: Tensor) -> Tensor:
    """Return the average precision of one list of detections at each difficulty, shape (D,).

    Detections fall into bins by their margin, each into two, by how near it lies to either: so the counts
    above each bin, and the precision there, change smoothly with the margins (after FastAP, Cakir et al.,
    CVPR 2019). Precision is not made to fall monotonically, as the protocol does; of thousands of detections
    it nearly falls by itself.

    Parameters
    ----------
    margins : Tensor, shape (N,), float32
        Logits of face less those of background; beyond the confidences 0.0067 and 0.9997 all are alike.
    right, false : Tensor, shapes (N, D), float32
        How much of each is right, and how much a false alarm; more than 1 where one stands for many.
    faces : Tensor, shape (D,), float32
        That there are to be found.
    """
    place = ((margins - _LOW) / (_HIGH - _LOW) * (_BINS - 1)).clamp(0, _BINS - 1.001)
    below = place.detach().floor().long()
    upper = (place - below)[:, None]

    def binned(counts: Tensor) -> tuple[Tensor, Tensor]:
        bins = torch.zeros(_BINS, counts.shape[1]).index_add(0, below, (1 - upper) * counts)
        bins = bins.index_add(0, below + 1, upper * counts)
        # of those in the same bin, half stand before
        return bins, bins.flip(0).cumsum(0).flip(0) - bins / 2

    found, right_before = binned(right)
    _, false_before = binned(false)
    precision = right_before / (right_before + false_before).clamp(min=1e-9)
    return (found * precision).sum(0) / faces.clamp(min=1)
