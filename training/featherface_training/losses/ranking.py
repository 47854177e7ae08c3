"""A loss that climbs average precision, over a batch's detections and those remembered of batches before."""

from collections import deque
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featherface.nms import non_maximum_suppression
from featherface.postprocess import MOST_CANDIDATES

from ..data.loader import Batch
from ..evaluation.boxes import centres, inside, overlaps
from ..evaluation.ground_truth import LEAST_HEIGHTS
from .average_precision import LEAST_BEST, RIGHT, SUPPRESSED, smooth_average_precision
from .matching import intersection_over_union

__all__ = ["Judged", "Memory", "RankingLoss", "RankingSettings", "judge"]

Memory = dict[int, list[tuple[Tensor, Tensor, Tensor, Tensor]]]
"""By the crops' side: of each crop margins (K,), right and false (K, D), faces (D,), see `RankingLoss`."""

# of a detection that could come to be right
_NEAR = 0.25
# pixels; a face cut by the crop's edge may have no label
_EDGE = 2
_HEIGHTS = tuple(LEAST_HEIGHTS.values())
_NOWHERE = np.empty((0, 4))


@dataclass(frozen=True, slots=True)
class RankingSettings:
    """Settings of `RankingLoss`.

    Attributes
    ----------
    weight : float
        0 leaves it out.
    crops : int
        How many of each size are remembered.
    least : int
        As long as fewer are, there is no loss.
    softness : float
        How far from an overlap of 0.5 a detection begins to count as more wrong than right.
    difficulties : tuple of float
        What the average precisions of easy, medium and hard faces count.
    ignore_within : bool
        Whether a detection with its centre in an ignored region counts neither way. Otherwise only one that
        overlaps the region by half does, as the protocol has it; but where nobody knows a face's size, there
        is nothing to overlap by half.
    """

    weight: float = 0.0
    crops: int = 1200
    least: int = 100
    softness: float = 0.06
    difficulties: tuple[float, float, float] = (1.0, 1.0, 2.0)
    ignore_within: bool = False

    def __post_init__(self) -> None:
        if self.least > self.crops:
            raise ValueError(
                f"ranking: expected to remember at least the {self.least} crops of `least`, "
                f"got `crops` of {self.crops}: there would never be a loss"
            )


@dataclass(frozen=True, slots=True)
class Judged:
    """What the detections of a crop are, most confident first.

    Attributes
    ----------
    face : ndarray, shape (K,), int64
        Which face each may be right about, or -1.
    counts : ndarray, shape (K, D), bool
        At which difficulties it is right where its overlap with that face is enough.
    wrong : ndarray, shape (K, D), int8
        Whether it is a false alarm where its overlap is not enough (1), anyway (2), or never (0).
    """

    face: NDArray[np.int64]
    counts: NDArray[np.bool_]
    wrong: NDArray[np.int8]


def judge(
    corners: NDArray[np.float64],
    faces: NDArray[np.float64],
    counted: NDArray[np.bool_],
    side: int,
    *,
    ignored: NDArray[np.float64] = _NOWHERE,
    within: bool = False,
) -> Judged:
    """Say what detections would be.

    Parameters
    ----------
    corners : ndarray, shape (K, 4)
        Of the detections, most confident first, clipped to the crop.
    faces : ndarray, shape (F, 4)
        Labelled; corners too.
    counted : ndarray, shape (F, D)
        At which difficulties each is to be found; what covers another counts neither way.
    side : int
        Of the crop, pixels.
    ignored : ndarray, shape (R, 4)
        Regions where nobody knows; they come after the faces in `Judged.face`, and are to be found at none.
    within : bool
        Of `RankingSettings.ignore_within`.
    """
    known, faces = len(faces), np.concatenate([faces, ignored])
    counted = np.concatenate([counted, np.zeros((len(ignored), counted.shape[1]), bool)])
    face = np.full(len(corners), -1)
    counts = np.zeros((len(corners), counted.shape[1]), bool)
    wrong = np.ones(counts.shape, np.int8)
    if len(faces) and len(corners):
        shared = overlaps(corners, faces)
        nearest, most = shared.argmax(1), shared.max(1)
        taken = np.zeros(len(faces), bool)
        for i in np.flatnonzero(most >= RIGHT):
            there = counted[nearest[i]]
            face[i] = nearest[i]
            counts[i] = there & ~taken[nearest[i]]
            wrong[i] = np.where(there & taken[nearest[i]], 2, 1)
            taken[nearest[i]] = True
        # a face that none covers is to be found by what comes nearest
        for i in np.argsort(-most, kind="stable"):
            if _NEAR <= most[i] < RIGHT and not taken[nearest[i]]:
                face[i], counts[i] = nearest[i], counted[nearest[i]]
                taken[nearest[i]] = True
    cut = (corners[:, :2] < _EDGE).any(1) | (corners[:, 2:] > side - _EDGE).any(1)
    wrong[cut & (face < 0)] = 0
    if within:
        labelled = (face >= 0) & (face < known)
        wrong[inside(centres(corners), ignored).any(1) & ~labelled] = 0
    return Judged(face, counts, wrong)


class RankingLoss:
    """Minus the smooth average precision of all remembered detections, as far as a batch moves it.

    Detections are what is left of a crop after suppression. One is right as far as its overlap with a face
    comes to 0.5, smoothly: so both its confidence and its box have a gradient. Crops of one size make one
    list. What is remembered makes the list long enough to be like that of a whole data set (as the memory of
    Wang et al., Cross-Batch Memory, CVPR 2020); only the batch's own detections have a gradient.

    Parameters
    ----------
    settings : RankingSettings
    """

    def __init__(self, settings: RankingSettings) -> None:
        self.settings = settings
        self._memory: dict[int, deque[tuple[Tensor, Tensor, Tensor, Tensor]]] = {}

    def state(self) -> Memory:
        """Return what is remembered, for a checkpoint."""
        return {side: list(crops) for side, crops in self._memory.items()}

    def load(self, state: Memory) -> None:
        """Remember what `state` returned."""
        # a checkpoint may have been read into the memory of a GPU
        self._memory = {
            side: deque((tuple(part.cpu() for part in crop) for crop in crops), self.settings.crops)
            for side, crops in state.items()
        }

    def __call__(self, margins: Tensor, corners: Tensor, batch: Batch) -> Tensor:
        """Return the loss of a batch, weighted, and remember its detections.

        Parameters
        ----------
        margins : Tensor, shape (B, P), float32
            Logits of face less those of background.
        corners : Tensor, shape (B, P, 4), float32
            Decoded boxes, pixels of the crop.
        batch : Batch
        """
        side = batch.images.shape[-1]
        crops = [self._crop(margins[i], corners[i], batch, i) for i in range(len(margins))]
        memory = self._memory.setdefault(side, deque(maxlen=self.settings.crops))
        loss = margins.new_zeros(())
        if len(memory) >= self.settings.least:
            found, right, false, faces = zip(*memory, *crops, strict=True)
            precisions = smooth_average_precision(
                torch.cat(found), torch.cat(right), torch.cat(false), torch.stack(faces).sum(0)
            )
            # a batch moves the mean over all by its share of it alone
            share = len(crops) / len(found)
            loss = -self.settings.weight / share * (precisions @ torch.tensor(self.settings.difficulties))
        memory.extend(tuple(part.detach() for part in crop) for crop in crops)
        return loss.to(margins.device)

    def _crop(self, margins: Tensor, corners: Tensor, batch: Batch, i: int) -> tuple[Tensor, ...]:
        """Return margins (K,), right and false (K, D) of a crop's detections, and how many faces count."""
        side = batch.images.shape[-1]
        rows = torch.nonzero(margins.detach() >= LEAST_BEST)[:, 0]
        rows = rows[margins.detach()[rows].argsort(descending=True, stable=True)[:MOST_CANDIDATES]]
        margins, corners = margins[rows].cpu(), corners[rows].clamp(0, side).cpu()
        boxes = corners.detach().numpy().astype(np.float64)
        kept = non_maximum_suppression(boxes, margins.detach().numpy(), SUPPRESSED)
        own, other = batch.owners == i, batch.ignored_owners == i
        faces, ignored = batch.boxes[own].cpu(), batch.ignored[other].cpu()
        counted = batch.heights[own].cpu()[:, None] >= torch.tensor(_HEIGHTS)
        judged = judge(
            boxes[kept],
            faces.numpy().astype(np.float64),
            counted.numpy(),
            side,
            ignored=ignored.numpy().astype(np.float64),
            within=self.settings.ignore_within,
        )
        margins, corners = margins[kept], corners[kept]
        some = torch.from_numpy(np.flatnonzero(judged.face >= 0))
        iou = intersection_over_union(
            corners[some], torch.cat([faces, ignored])[judged.face[judged.face >= 0]]
        )
        near = ((iou - RIGHT) / self.settings.softness).sigmoid()
        near = torch.zeros(len(kept)).index_add(0, some, near)[:, None]
        right = torch.from_numpy(judged.counts) * near
        kinds = torch.from_numpy(judged.wrong)
        false = torch.where(kinds == 1, 1 - near, (kinds == 2).float())
        return margins, right, false, counted.sum(0).float()
