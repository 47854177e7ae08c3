"""Assigning faces to priors by overlap, as RetinaFace and SSD do (Liu et al., ECCV 2016)."""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Matches", "Predicted", "Strategy", "corner_boxes", "intersection_over_union", "match", "overlap"]

Strategy = Literal["iou", "atss", "simota"]

# of each stride's cells, as ATSS has it
NEAREST_CELLS = 9
# SimOTA's: what overlap costs beside the class, and how many overlaps say how many priors a face takes
OVERLAP_COST, MOST_PRIORS = 3.0, 10


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


@dataclass(frozen=True, slots=True)
class Predicted:
    """What the student says so far, without gradients.

    Attributes
    ----------
    margins : Tensor, shape (B, P)
        How far the logit of a face lies above that of none.
    boxes : Tensor, shape (B, P, 4)
        Corners in pixels.
    """

    margins: Tensor
    boxes: Tensor


def corner_boxes(centred: Tensor) -> Tensor:
    """Turn (..., 4) cx, cy, w, h into left, top, right, bottom."""
    half = centred[..., 2:] / 2
    return torch.cat([centred[..., :2] - half, centred[..., :2] + half], -1)


def overlap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return the areas of intersection and union of corner boxes (..., 4), one by one."""
    low = torch.maximum(a[..., :2], b[..., :2])
    high = torch.minimum(a[..., 2:], b[..., 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    return shared, _area(a) + _area(b) - shared


def intersection_over_union(a: Tensor, b: Tensor) -> Tensor:
    """Return the IoU of corner boxes (..., 4), one by one."""
    shared, union = overlap(a, b)
    return shared / union.clamp(min=1e-9)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).prod(-1)


def _pairs(boxes: Tensor, priors: Tensor) -> tuple[Tensor, Tensor]:
    """Return intersection and IoU of corner boxes (M, 4) with centred priors (P, 4): (M, P) each."""
    corners = corner_boxes(priors)
    shared, union = overlap(boxes[:, None], corners[None])
    return shared, shared / union.clamp(min=1e-9)


def _strongest(value: Tensor, allowed: Tensor, owners: Tensor, images: int) -> Tensor:
    """Give each prior of each image the allowed face of the largest value (M, P), else -1: (B, P)."""
    count, device = value.shape[1], value.device
    rows = owners[:, None].expand(-1, count)
    valued = torch.where(allowed, value, -torch.inf)
    best = torch.full((images, count), -torch.inf, device=device).scatter_reduce(0, rows, valued, "amax")
    ids = torch.arange(len(value), device=device)[:, None]
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


def _covered(regions: Tensor, owners: Tensor, images: int, priors: Tensor, least: float) -> Tensor:
    """Tell which priors (B, P) have their centre in a region of (M, 4), or an IoU of `least` with one."""
    covered = _anywhere(_centres_inside(regions, priors), owners, images)
    area = _area(regions)
    # crowds have thousands of regions, most of them small: few could overlap a prior so much
    for side in priors[:, 2].unique():
        alike = ((area >= least * side**2) & (area * least <= side**2)).nonzero()[:, 0]
        if len(alike):
            those = (priors[:, 2] == side).nonzero()[:, 0]
            _, iou = _pairs(regions[alike], priors[those])
            covered[:, those] |= _anywhere(iou >= least, owners[alike], images)
    return covered


def match(
    priors: Tensor,
    boxes: Tensor,
    owners: Tensor,
    images: int,
    *,
    ignored: Tensor | None = None,
    ignored_owners: Tensor | None = None,
    predicted: Predicted | None = None,
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

    With "simota" (Ge et al., YOLOX, 2021), a face's candidates are those of ATSS whose centre lies in it, or
    up to `outside` pixels beside it. Of them it takes those that cost the student least, by class and by
    overlap of what it predicts there, as many as the ten largest of these overlaps sum up to, one at least.

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
    predicted : Predicted or None
        Needed by "simota".
    strategy : {"iou", "atss", "simota"}
    outside : float
        Pixels; read by "atss" and "simota".
    spare : float
        Priors that overlap a face at least so much and are not matched count for nothing: to the network,
        those two cells from the centre of a large face look like the matched ones.
    positive_iou, minimum_iou : float
        Thresholds on the intersection over union.

    Returns
    -------
    Matches

    Raises
    ------
    ValueError
        If "simota" is not told what the student predicts.
    """
    if strategy == "simota" and predicted is None:
        raise ValueError("simota matches by what the student predicts: give `predicted`")
    face = torch.full((images, len(priors)), -1, dtype=torch.int64, device=priors.device)
    if len(boxes):
        pairs = _pairs(boxes, priors)
        if strategy == "atss":
            face = _atss(priors, boxes, pairs, owners, images, minimum_iou / 2, outside)
        elif predicted is not None and strategy == "simota":
            face = _simota(priors, boxes, pairs, owners, predicted, minimum_iou / 2, outside)
        else:
            face = _by_iou(boxes, pairs, owners, images, positive_iou, minimum_iou)
        if spare < 1:
            alike = _anywhere(pairs[1] >= spare, owners, images)
            face = torch.where((face == -1) & alike, -2, face)
    if ignored is not None and ignored_owners is not None and len(ignored):
        unknown = _covered(ignored, ignored_owners, images, priors, minimum_iou)
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


def _nearest(priors: Tensor, boxes: Tensor) -> Tensor:
    """Return the priors of each stride's cells nearest to each face: (M, K), int64."""
    centres = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
    distance = (centres - priors[None, :, :2]).square().sum(-1)
    nearest = []
    # two priors a cell, as near as each other
    for pair in priors[:, 2].unique().view(-1, 2):
        level = torch.isin(priors[:, 2], pair).nonzero()[:, 0]
        count = min(2 * NEAREST_CELLS, len(level))
        nearest.append(level[distance[:, level].topk(count, dim=1, largest=False).indices])
    return torch.cat(nearest, 1)


def _with_lonely(
    face: Tensor, lonely: Tensor, boxes: Tensor, pairs: tuple[Tensor, Tensor], owners: Tensor, minimum: float
) -> Tensor:
    """Give faces that lie between the cells' centres their best prior: they would be taught as background."""
    shared, iou = pairs
    best_iou, best = iou.max(1)
    covered = (shared >= 0.5 * _area(boxes)[:, None]) & (lonely & (best_iou < minimum))[:, None]
    face = torch.where((face == -1) & _anywhere(covered, owners, len(face)), -2, face)
    kept = lonely & (best_iou >= minimum)
    face[owners[kept], best[kept]] = torch.arange(len(boxes), device=boxes.device)[kept]
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
    _, iou = pairs
    near = torch.zeros_like(iou, dtype=torch.bool).scatter_(1, _nearest(priors, boxes), True)
    count = near.sum(1, keepdim=True)
    mean = (iou * near).sum(1, keepdim=True) / count
    deviation = (((iou - mean).square() * near).sum(1, keepdim=True) / (count - 1).clamp(min=1)).sqrt()
    allowed = near & (iou >= mean + deviation) & _centres_inside(boxes, priors, outside) & (iou > 0)
    face = _strongest(iou, allowed, owners, images)
    return _with_lonely(face, ~allowed.any(1), boxes, pairs, owners, minimum_iou)


def _simota(
    priors: Tensor,
    boxes: Tensor,
    pairs: tuple[Tensor, Tensor],
    owners: Tensor,
    predicted: Predicted,
    minimum_iou: float,
    outside: float,
) -> Tensor:
    images, count = predicted.margins.shape
    candidates = _nearest(priors, boxes)
    inside = _centres_inside(boxes, priors, outside).gather(1, candidates)
    found = predicted.boxes[owners[:, None], candidates]
    iou = intersection_over_union(found, boxes[:, None]) * inside
    cost = F.softplus(-predicted.margins[owners[:, None], candidates]) - OVERLAP_COST * (iou + 1e-8).log()
    cost = torch.where(inside, cost, torch.inf)
    wanted = iou.topk(min(MOST_PRIORS, iou.shape[1]), dim=1).values.sum(1).int().clamp(min=1)
    rank = cost.argsort(1).argsort(1)
    chosen = inside & (rank < wanted[:, None])
    # a prior that several faces want goes to the one that it suits best
    value = torch.full((len(boxes), count), -torch.inf, device=boxes.device)
    value.scatter_(1, candidates, torch.where(chosen, -cost, -torch.inf))
    face = _strongest(value, value > -torch.inf, owners, images)
    return _with_lonely(face, ~chosen.any(1), boxes, pairs, owners, minimum_iou)
