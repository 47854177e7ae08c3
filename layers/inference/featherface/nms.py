"""Non-maximum suppression in numpy: greedy, and soft with the votes of what is suppressed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, takewhile
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["SAME_FACE", "VOTING_SHARE", "Elected", "non_maximum_suppression", "suppress_and_vote"]

VOTING_SHARE: Final = 0.25
"""A box votes where one is kept if it has more than this part of its score."""

SAME_FACE: Final = 0.6
"""Boxes whose intersection over union is above this are of one face; below, often of a face beside."""


class Elected(NamedTuple):
    """A box that is kept.

    Parameters
    ----------
    best : intp
        Its index.
    score : float
        What is left of its score.
    voters : ndarray of intp, shape (V,)
        Whose mean says where it lies: itself first.
    """

    best: np.intp
    score: float
    voters: npt.NDArray[np.intp]


class _Round(NamedTuple):
    """A box that is kept, the boxes left, itself among them, and their intersections and unions with it."""

    best: np.intp
    score: float
    rest: npt.NDArray[np.intp]
    intersection: npt.NDArray[np.floating]
    union: npt.NDArray[np.floating]


def non_maximum_suppression(
    boxes: npt.NDArray[np.floating],
    scores: npt.NDArray[np.floating],
    threshold: float,
    limit: int | None = None,
) -> npt.NDArray[np.intp]:
    """Keep the best boxes that do not overlap a better one.

    Parameters
    ----------
    boxes : ndarray, shape (K, 4)
        Left, top, right, bottom, in any one frame; extents are right - left and bottom - top (no pixel is
        added).
    scores : ndarray, shape (K,)
        Higher is better; of equals, the one that comes first wins.
    threshold : float
        A box goes when its intersection over union with a kept one is above this.
    limit : int, optional
        Stop after so many boxes.

    Returns
    -------
    ndarray of intp, shape (M,)
        Indices of the kept boxes, best first.
    """
    kept = [found.best for found in islice(_rounds(boxes, scores, threshold, threshold), limit)]
    return np.asarray(kept, dtype=np.intp)


def suppress_and_vote(
    boxes: npt.NDArray[np.floating],
    scores: npt.NDArray[np.floating],
    threshold: float,
    *,
    least: float,
    limit: int | None = None,
) -> list[Elected]:
    """Suppress softly, and tell which boxes say where a kept one lies.

    Soft-NMS, linear (Bodla et al., ICCV 2017): a box that overlaps a kept one by more than `threshold` may be
    of a face half behind another, and keeps one minus that overlap of its score; one that overlaps it by more
    than `SAME_FACE` goes. Box voting (Gidaris and Komodakis, ICCV 2015): the mean of the boxes that agree is
    better placed than the most confident of them alone.

    Parameters
    ----------
    boxes : ndarray, shape (K, 4)
        As in `non_maximum_suppression`.
    scores : ndarray, shape (K,)
        Not negative.
    threshold : float
        Intersection over union; from `SAME_FACE` on nothing is soft, and a box goes when it is above this.
    least : float
        A box of which a lower score is left is not kept, but votes. The votes of all kept boxes are complete
        if all boxes with more than a quarter of this score are there.
    limit : int, optional
        Stop after so many boxes.

    Returns
    -------
    list of Elected
        The kept boxes, by what is left of their scores, best first, each with its voters: itself, and of
        those that go with it the ones with more than a quarter of its score.
    """
    gone = max(threshold, SAME_FACE)
    rounds = takewhile(lambda found: found.score >= least, _rounds(boxes, scores, threshold, gone))
    elected = []
    for best, score, rest, intersection, union in islice(rounds, limit):
        agreeing = (
            (intersection > gone * union) & (scores[rest] > VOTING_SHARE * scores[best]) & (rest != best)
        )
        elected.append(Elected(best, score, np.concatenate([(best,), rest[agreeing]])))
    return elected


def _rounds(
    boxes: npt.NDArray[np.floating], scores: npt.NDArray[np.floating], threshold: float, gone: float
) -> Iterator[_Round]:
    """Keep boxes, best first: of those left beside one, a part of the score goes, or all beyond `gone`."""
    left, top, right, bottom = boxes.T
    areas = (right - left) * (bottom - top)
    rest, remaining = np.arange(len(scores)), scores
    while rest.size:
        first = np.argmax(remaining)
        best, score = rest[first], float(remaining[first])
        width = np.minimum(right[best], right[rest]) - np.maximum(left[best], left[rest])
        height = np.minimum(bottom[best], bottom[rest]) - np.maximum(top[best], top[rest])
        intersection = np.maximum(width, 0) * np.maximum(height, 0)
        # Compared as a product: boxes without an area would divide zero by zero.
        union = areas[best] + areas[rest] - intersection
        yield _Round(best, score, rest, intersection, union)
        stays = intersection <= gone * union
        stays[first] = False
        rest, remaining = rest[stays], remaining[stays]
        if gone > threshold:
            intersection, union = intersection[stays], union[stays]
            weakened = intersection > threshold * union
            remaining[weakened] *= 1 - intersection[weakened] / union[weakened]
