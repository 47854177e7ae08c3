"""Assigning faces to priors by overlap, as RetinaFace and SSD do (Liu et al., ECCV 2016)."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

__all__ = ["Matches", "Strategy", "corner_boxes", "match"]

Strategy = Literal["iou", "atss"]


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


def _pairs(boxes: Tensor, priors: Tensor) -> tuple[Tensor, Tensor]:
    """Return intersection and IoU of corner boxes (M, 4) with centred priors (P, 4): (M, P) each."""
    corners = corner_boxes(priors)
    shared = _intersection(boxes, corners)
    return shared, shared / (_area(boxes)[:, None] + _area(corners)[None] - shared).clamp(min=1e-9)


def _strongest(iou: Tensor, allowed: Tensor, owners: Tensor, images: int) -> Tensor:
    """Give each prior of each image the allowed face that it overlaps most, else -1: (B, P)."""
    count, device = iou.shape[1], iou.device
    rows = owners[:, None].expand(-1, count)
    valued = torch.where(allowed, iou, -1.0)
    best = torch.full((images, count), -1.0, device=device).scatter_reduce(0, rows, valued, "amax")
    ids = torch.arange(len(iou), device=device)[:, None]
    candidates = torch.where(allowed & (valued == best[owners]), ids, -1)
    face = torch.full((images, count), -1, dtype=torch.int64, device=device)
    return face.scatter_reduce(0, rows, candidates, "amax")


def _anywhere(where: Tensor, owners: Tensor, images: int) -> Tensor:
    """Or together the rows (M, P) of each image: (B, P)."""
    rows = owners[:, None].expand(-1, where.shape[1])
    none = torch.zeros((images, where.shape[1]), device=where.device)
    return none.scatter_reduce(0, rows, where.float(), "amax") > 0


def _centres_inside(boxes: Tensor, priors: Tensor, outside: float = 0.0) -> Tensor:
    """Return which priors have their centre in which box, or up to `outside` pixels beside it: (M, P)."""
    x, y = priors[None, :, 0], priors[None, :, 1]
    left, top, right, bottom = (side[:, None] for side in boxes.unbind(1))
    return (x > left - outside) & (x < right + outside) & (y > top - outside) & (y < bottom + outside)


def match(
    priors: Tensor,
    boxes: Tensor,
    owners: Tensor,
    images: int,
    *,
    ignored: Tensor | None = None,
    ignored_owners: Tensor | None = None,
    strategy: Strategy = "iou",
    outside: float = 0.0,
    spare: float = 1.0,
    positive_iou: float = 0.35,
    minimum_iou: float = 0.2,
) -> Matches:
    """Match the faces of a batch to the priors that all its images share.

    With "iou", a prior takes the face it overlaps most when that is at least `positive_iou`; each face also
    gets its best prior, unless even that overlaps less than `minimum_iou`: such a face is too small (or too
    odd) for the priors, and those that it covers are ignored rather than taught that there is nothing.

    With "atss" (Zhang et al., CVPR 2020), a face's candidates are the priors of each stride's nine nearest
    cells; it takes those that overlap it by at least mean plus standard deviation of the candidates'
    overlaps, and whose centre lies in it, or up to `outside` pixels beside it: cells are 8 pixels wide, and
    a face as small holds the centre of one only. A face that gets none so takes its best prior, if that
    overlaps by half of `minimum_iou`; else what it covers is ignored.

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
    ignored, ignored_owners : Tensor or None, shapes (G, 4) and (G,)
        Regions where nobody knows: priors that lie in one or resemble one count for nothing, unless a face
        is matched to them.
    strategy : {"iou", "atss"}
    outside : float
        Pixels; read by "atss".
    spare : float
        Priors that overlap a face at least so much and are not matched count for nothing: to the network,
        those two cells from the centre of a large face look like the matched ones.
    positive_iou, minimum_iou : float
        Thresholds on the intersection over union.

    Returns
    -------
    Matches
    """
    face = torch.full((images, len(priors)), -1, dtype=torch.int64, device=priors.device)
    if len(boxes):
        pairs = _pairs(boxes, priors)
        if strategy == "atss":
            face = _atss(priors, boxes, pairs, owners, images, minimum_iou / 2, outside)
        else:
            face = _by_iou(boxes, pairs, owners, images, positive_iou, minimum_iou)
        if spare < 1:
            alike = _anywhere(pairs[1] >= spare, owners, images)
            face = torch.where((face == -1) & alike, -2, face)
    if ignored is not None and ignored_owners is not None and len(ignored):
        _, iou = _pairs(ignored, priors)
        unknown = _anywhere((iou >= minimum_iou) | _centres_inside(ignored, priors), ignored_owners, images)
        face = torch.where((face == -1) & unknown, -2, face)
    return Matches(face)


def _by_iou(
    boxes: Tensor,
    pairs: tuple[Tensor, Tensor],
    owners: Tensor,
    images: int,
    positive_iou: float,
    minimum_iou: float,
) -> Tensor:
    shared, iou = pairs
    best_prior_iou, best_prior = iou.max(1)
    hopeless = best_prior_iou < minimum_iou
    face = _strongest(iou, iou >= positive_iou, owners, images)
    covered = (shared >= 0.5 * _area(boxes)[:, None]) & hopeless[:, None]
    face = torch.where((face == -1) & _anywhere(covered, owners, images), -2, face)
    kept = ~hopeless
    face[owners[kept], best_prior[kept]] = torch.arange(len(boxes), device=boxes.device)[kept]
    return face


def _atss(
    priors: Tensor,
    boxes: Tensor,
    pairs: tuple[Tensor, Tensor],
    owners: Tensor,
    images: int,
    minimum_iou: float,
    outside: float,
) -> Tensor:
    shared, iou = pairs
    centres = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
    distance = (centres - priors[None, :, :2]).square().sum(-1)
    # two priors a cell, as near as each other
    sides = priors[:, 2].unique()
    near = torch.zeros_like(iou, dtype=torch.bool)
    for pair in sides.view(-1, 2):
        level = torch.isin(priors[:, 2], pair).nonzero()[:, 0]
        nearest = distance[:, level].topk(min(18, len(level)), dim=1, largest=False).indices
        near.scatter_(1, level[nearest], True)
    count = near.sum(1, keepdim=True)
    mean = (iou * near).sum(1, keepdim=True) / count
    deviation = (((iou - mean).square() * near).sum(1, keepdim=True) / (count - 1).clamp(min=1)).sqrt()
    allowed = near & (iou >= mean + deviation) & _centres_inside(boxes, priors, outside) & (iou > 0)
    face = _strongest(iou, allowed, owners, images)
    # a face that lies between the cells' centres would be taught as background
    best_iou, best = iou.max(1)
    lonely = ~allowed.any(1)
    covered = (shared >= 0.5 * _area(boxes)[:, None]) & (lonely & (best_iou < minimum_iou))[:, None]
    face = torch.where((face == -1) & _anywhere(covered, owners, images), -2, face)
    kept = lonely & (best_iou >= minimum_iou)
    face[owners[kept], best[kept]] = torch.arange(len(boxes), device=boxes.device)[kept]
    return face
