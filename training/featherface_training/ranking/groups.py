"""Which candidates compete to be one detection, and which of them would be right."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from featherface.priors import LEVELS

from ..evaluation.boxes import overlaps
from ..evaluation.ground_truth import PhotoTruth
from ..evaluation.protocol import DIFFICULTIES, protocol_overlaps
from ..losses.average_precision import LEAST_BEST, RIGHT, SUPPRESSED
from .candidates import Candidates

__all__ = ["LEAST_MARGIN", "SIDES", "Groups", "group", "join", "weigh"]

SIDES = tuple(side for _, sides in LEVELS for side in sides)
"""Of the priors, pixels of the network's input."""

LEAST_MARGIN = -4.7
"""Of candidates: by how much the fit could raise what stands below the least confidence that is measured."""

# of each group; and how far below its best one may stand to ever overtake it
_MEMBERS = 4
_REACH = 3.0
# of the false alarms below this margin one of seven stands for all
_WEAK, _SHARE = -1.0, 0.15


@dataclass(frozen=True, slots=True)
class Groups:
    """Candidates that suppress each other, by group: the most confident of each is what is detected.

    Attributes
    ----------
    patches : ndarray, shape (R, 9 * C), float16
        Of each candidate, what the convolution of its `Tail` sees.
    sides : ndarray, shape (R,), int64
        Which of `SIDES` its prior has.
    labels : ndarray, shape (R, 3), int8
        At each difficulty, what it would be as its group's best: right (1), a false alarm (0), or neither
        (-1).
    owners : ndarray, shape (R,), int64
        The group of each candidate, 0 to G - 1.
    weights : ndarray, shape (G,), float32
        How many groups each stands for.
    faces : ndarray, shape (3,), float64
        That count at each difficulty, found or not.
    """

    patches: NDArray[np.float16]
    sides: NDArray[np.int64]
    labels: NDArray[np.int8]
    owners: NDArray[np.int64]
    weights: NDArray[np.float32]
    faces: NDArray[np.float64]


def _members(corners: NDArray[np.float64], margins: NDArray[np.float32]) -> list[NDArray[np.int64]]:
    """Return who would be a group, its best first, of candidates that fall in confidence."""
    left = np.arange(len(corners))
    groups = []
    while len(left) and margins[left[0]] >= LEAST_BEST:
        best, left = left[0], left[1:]
        rivals = overlaps(corners[best, None], corners[left])[0] > SUPPRESSED
        others, left = left[rivals], left[~rivals]
        others = others[margins[others] >= margins[best] - _REACH]
        groups.append(np.concatenate([[best], others[: _MEMBERS - 1]]))
    return groups


def group(
    found: Candidates, truth: PhotoTruth, random: np.random.Generator, *, empty: bool = False
) -> Groups:
    """Group the candidates of a photo and say which would be right.

    Parameters
    ----------
    found : Candidates
        Down to `LEAST_MARGIN`.
    truth : PhotoTruth
        Its faces.
    random : numpy.random.Generator
        Chooses which of the weakest false alarms stand for the others.
    empty : bool
        Whether a photo without faces holds false alarms; in the protocol it counts for nothing.
    """
    groups = _members(found.corners, found.margins) if len(truth.boxes) or empty else []
    bests = np.array([members[0] for members in groups], np.int64)
    rows = np.concatenate([*groups, np.zeros(0, np.int64)])
    owners = np.repeat(np.arange(len(groups)), [len(members) for members in groups])
    labels = np.zeros((len(rows), len(DIFFICULTIES)), np.int8)
    if len(rows) and len(truth.boxes):
        boxes = np.concatenate([found.corners[:, :2], found.corners[:, 2:] - found.corners[:, :2]], 1)
        shared = protocol_overlaps(boxes[rows], truth.boxes)
        face, right = shared.argmax(1), shared.max(1) >= RIGHT
        # a face is found by the most confident group whose best covers it, or by any if none does
        finder = np.full(len(truth.boxes), -1)
        first = np.flatnonzero(np.isin(rows, bests) & right)[::-1]
        finder[face[first]] = owners[first]
        free = (finder[face] == owners) | (finder[face] < 0)
        counted = np.stack([truth.counted[level] for level in DIFFICULTIES], 1)[face]
        labels[right] = np.where(~counted, -1, free[:, None])[right]
    hopeless = np.ones(len(groups), bool)
    np.logical_and.at(hopeless, owners, (labels != 1).all(1))
    weak = hopeless & (found.margins[bests] < _WEAK)
    kept = ~weak | (random.random(len(groups)) < _SHARE)
    chosen = kept[owners]
    rows = rows[chosen]
    return Groups(
        found.patches(rows),
        np.searchsorted(SIDES, found.sides[rows]),
        labels[chosen],
        (np.cumsum(kept) - 1)[owners[chosen]],
        np.where(weak, 1 / _SHARE, 1.0)[kept].astype(np.float32),
        np.array([truth.counted[level].sum() for level in DIFFICULTIES], np.float64),
    )


def join(parts: Sequence[Groups]) -> Groups:
    """Make one list of the groups of several photos, at least one."""
    starts = np.cumsum([0, *(len(part.weights) for part in parts[:-1])])
    return Groups(
        np.concatenate([part.patches for part in parts]),
        np.concatenate([part.sides for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.owners + start for part, start in zip(parts, starts, strict=True)]),
        np.concatenate([part.weights for part in parts]),
        np.sum([part.faces for part in parts], axis=0),
    )


def weigh(groups: Groups, share: float) -> Groups:
    """Let detections and faces count `share` times what they did."""
    return replace(groups, weights=groups.weights * np.float32(share), faces=groups.faces * share)
