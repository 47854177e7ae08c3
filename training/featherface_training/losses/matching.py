"""Assigning faces to priors by overlap, as RetinaFace and SSD do (Liu et al., ECCV 2016)."""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Matches", "corner_boxes", "match"]


@dataclass(frozen=True, slots=True)
class Matches:
    """What each prior of each image is to learn.

    Attributes
    ----------
    face : Tensor, shape (B, P), int64
        Index of the matched face, -1 for background, -2 for priors that count for nothing.
    """

    face: Tensor

    @property
    def positive(self) -> Tensor:
        """Which priors are to find a face, shape (B, P), bool."""
        return self.face >= 0

    @property
    def negative(self) -> Tensor:
        """Which priors are to find none, shape (B, P), bool."""
        return self.face == -1


def corner_boxes(centred: Tensor) -> Tensor:
    """Turn (..., 4) cx, cy, w, h into left, top, right, bottom."""
    half = centred[..., 2:] / 2
    return torch.cat([centred[..., :2] - half, centred[..., :2] + half], -1)


def _intersection(a: Tensor, b: Tensor) -> Tensor:
    low = torch.maximum(a[:, None, :2], b[None, :, :2])
    high = torch.minimum(a[:, None, 2:], b[None, :, 2:])
    return (high - low).clamp(min=0).prod(-1)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).prod(-1)


def match(
    priors: Tensor,
    boxes: Tensor,
    owners: Tensor,
    images: int,
    *,
    positive_iou: float = 0.35,
    minimum_iou: float = 0.2,
) -> Matches:
    """Match the faces of a batch to the priors that all its images share.

    A prior takes the face it overlaps most when that is at least `positive_iou`; each face also gets its best
    prior, unless even that overlaps less than `minimum_iou`: such a face is too small (or too odd) for the
    priors, and those that it covers are ignored rather than taught that there is nothing.

    Parameters
    ----------
    priors : Tensor, shape (P, 4)
        cx, cy, w, h in pixels.
    boxes : Tensor, shape (M, 4)
        Corners in pixels, the faces of all images.
    owners : Tensor, shape (M,), int64
        The image of each face.
    images : int
        B.
    positive_iou, minimum_iou : float
        Thresholds on the intersection over union.

    Returns
    -------
    Matches
    """
    count, device = len(priors), priors.device
    face = torch.full((images, count), -1, dtype=torch.int64, device=device)
    if len(boxes) == 0:
        return Matches(face)
    corners = corner_boxes(priors)
    shared = _intersection(boxes, corners)
    iou = shared / (_area(boxes)[:, None] + _area(corners)[None] - shared).clamp(min=1e-9)
    best_prior_iou, best_prior = iou.max(1)
    hopeless = best_prior_iou < minimum_iou

    rows = owners[:, None].expand(-1, count)
    best_iou = torch.zeros((images, count), device=device).scatter_reduce(0, rows, iou, "amax")
    ids = torch.arange(len(boxes), device=device)[:, None]
    candidates = torch.where((iou == best_iou[owners]) & (iou >= positive_iou), ids, -1)
    face = face.scatter_reduce(0, rows, candidates, "amax")

    covered = (shared >= 0.5 * _area(boxes)[:, None]) & hopeless[:, None]
    ignored = torch.zeros((images, count), device=device).scatter_reduce(0, rows, covered.float(), "amax") > 0
    face = torch.where((face == -1) & ignored, -2, face)

    kept = ~hopeless
    face[owners[kept], best_prior[kept]] = ids[kept, 0]
    return Matches(face)
