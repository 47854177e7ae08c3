"""Average precision that has a gradient."""

import torch
from torch import Tensor

__all__ = ["smooth_average_precision"]

# margins of confidences of 0.0067 and 0.9997
_LOW, _HIGH, _BINS = -5.0, 8.0, 500


def smooth_average_precision(margins: Tensor, labels: Tensor, weights: Tensor, faces: Tensor) -> Tensor:
    """Return the average precision of one list of detections at each difficulty, shape (D,).

    Detections fall into bins by their margin, each into two, by how near it lies to either: so the counts
    above each bin, and the precision there, change smoothly with the margins (after FastAP, Cakir et al.,
    CVPR 2019). Precision is not made to fall monotonically, as the protocol does; of thousands of detections
    it nearly falls by itself.

    Parameters
    ----------
    margins : Tensor, shape (N,), float32
        Logits of face less those of background; beyond the confidences 0.0067 and 0.9997 all are alike.
    labels : Tensor, shape (N, D), int8
        Right (1), a false alarm (0), or neither (-1).
    weights : Tensor, shape (N,), float32
        How many detections each stands for.
    faces : Tensor, shape (D,), float32
        That there are to be found.
    """
    place = ((margins - _LOW) / (_HIGH - _LOW) * (_BINS - 1)).clamp(0, _BINS - 1.001)
    below = place.detach().floor().long()
    upper = place - below

    def binned(chosen: Tensor) -> tuple[Tensor, Tensor]:
        share = chosen * weights
        bins = torch.zeros(_BINS).index_add(0, below, (1 - upper) * share)
        bins = bins.index_add(0, below + 1, upper * share)
        # of those in the same bin, half stand before
        return bins, bins.flip(0).cumsum(0).flip(0) - bins / 2

    precisions = []
    for label, count in zip(labels.unbind(1), faces, strict=True):
        right, right_before = binned(label == 1)
        _, false_before = binned(label == 0)
        precision = right_before / (right_before + false_before).clamp(min=1e-9)
        precisions.append((right * precision).sum() / count.clamp(min=1))
    return torch.stack(precisions)
