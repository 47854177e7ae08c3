from __future__ import annotations

import math

import cv2
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from featherface.nms import SAME_FACE, non_maximum_suppression, suppress_and_vote


def shared_and_union(first: list[float], second: list[float]) -> tuple[float, float]:
    (left, top, right, bottom), (a, b, c, d) = first, second
    shared = max(0.0, min(right, c) - max(left, a)) * max(0.0, min(bottom, d) - max(top, b))
    return shared, (right - left) * (bottom - top) + (c - a) * (d - b) - shared


def naive(boxes: list[list[float]], scores: list[float], threshold: float) -> list[int]:
    """Suppress pair by pair, in plain Python."""
    kept: list[int] = []
    for index in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        pairs = [shared_and_union(boxes[index], boxes[other]) for other in kept]
        if not any(shared > threshold * union for shared, union in pairs):
            kept.append(index)
    return kept


@st.composite
def candidates(draw: st.DrawFn) -> tuple[list[list[float]], list[float]]:
    """Whole numbers, so that both formulations round alike, and few scores, so that there are ties."""
    corner, side = st.integers(0, 40), st.integers(0, 30)
    count = draw(st.integers(0, 30))
    boxes = []
    for _ in range(count):
        left, top = draw(corner), draw(corner)
        boxes.append([float(left), float(top), float(left + draw(side)), float(top + draw(side))])
    return boxes, [draw(st.integers(0, 9)) / 10 for _ in range(count)]


@given(candidates(), st.sampled_from([0.0, 0.25, 0.4, 0.5, 0.75, 1.0]))
def test_against_the_naive_formulation(
    found: tuple[list[list[float]], list[float]], threshold: float
) -> None:
    boxes, scores = found
    kept = non_maximum_suppression(np.array(boxes).reshape(-1, 4), np.array(scores), threshold)
    assert kept.tolist() == naive(boxes, scores, threshold)


@given(candidates(), st.integers(0, 10))
def test_a_limit_cuts_the_end_off(found: tuple[list[list[float]], list[float]], limit: int) -> None:
    boxes, scores = np.array(found[0]).reshape(-1, 4), np.array(found[1])
    whole = non_maximum_suppression(boxes, scores, 0.4)
    assert non_maximum_suppression(boxes, scores, 0.4, limit).tolist() == whole[:limit].tolist()


@pytest.mark.parametrize("seed", range(5))
def test_against_opencv(seed: int) -> None:
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 200, (300, 2))
    sides = rng.uniform(10, 80, (300, 2))
    scores = rng.permutation(300).astype(np.float64) / 300 + 0.001
    boxes = np.concatenate([corners, corners + sides], axis=1)
    expected = cv2.dnn.NMSBoxes(np.concatenate([corners, sides], axis=1).tolist(), scores.tolist(), 0.0, 0.4)
    assert non_maximum_suppression(boxes, scores, 0.4).tolist() == np.ravel(expected).tolist()


def test_no_box() -> None:
    assert non_maximum_suppression(np.empty((0, 4)), np.empty(0), 0.4).shape == (0,)
    assert suppress_and_vote(np.empty((0, 4)), np.empty(0), 0.4, least=0.0) == []


# ---------------------------------------------------------------- votes


@given(candidates(), st.sampled_from([0.6, 0.75, 1.0]))
def test_nothing_is_soft_where_boxes_of_one_face_may_stay(
    found: tuple[list[list[float]], list[float]], threshold: float
) -> None:
    boxes, scores = np.array(found[0]).reshape(-1, 4), np.array(found[1])
    elected = suppress_and_vote(boxes, scores, threshold, least=0.0)
    assert [one.best for one in elected] == non_maximum_suppression(boxes, scores, threshold).tolist()
    assert [one.score for one in elected] == [scores[one.best] for one in elected]


@given(candidates(), st.sampled_from([0.0, 0.25, 0.4, 0.5]))
def test_soft_suppression_against_opencv(
    found: tuple[list[list[float]], list[float]], threshold: float
) -> None:
    # boxes of different faces, and no ties (overlaps are rational): OpenCV drops nothing, and orders equals
    # its own way
    pairs = [
        (box, math.exp(-i / 20)) for i, box in enumerate(found[0]) if box[2] > box[0] and box[3] > box[1]
    ]
    apart: list[tuple[list[float], float]] = []
    for box, score in pairs:
        overlaps = [shared_and_union(box, other) for other, _ in apart]
        if all(shared <= SAME_FACE * union for shared, union in overlaps):
            apart.append((box, score))
    boxes, scores = np.array([box for box, _ in apart]).reshape(-1, 4), np.array([s for _, s in apart])
    if not apart:
        return
    corners_and_sides = (
        np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).astype(int).tolist()
    )
    expected_scores, expected = cv2.dnn.softNMSBoxes(
        corners_and_sides, scores.tolist(), 0.0, threshold, 0, 0.5, cv2.dnn.SOFT_NMSMETHOD_SOFTNMS_LINEAR
    )
    elected = suppress_and_vote(boxes, scores, threshold, least=0.0)
    left = dict(zip(expected.ravel().tolist(), np.ravel(expected_scores).tolist(), strict=True))
    assert {int(one.best): one.score for one in elected} == pytest.approx(left, abs=1e-5)


@given(candidates(), st.sampled_from([0.0, 0.4, 0.75, 1.0]), st.integers(0, 10), st.integers(0, 9))
def test_what_is_left_is_kept_best_first_down_to_the_least(
    found: tuple[list[list[float]], list[float]], threshold: float, limit: int, tenths: int
) -> None:
    boxes, scores, least = np.array(found[0]).reshape(-1, 4), np.array(found[1]), tenths / 10
    before = scores.copy()
    whole = [
        (one.best, one.score, one.voters.tolist())
        for one in suppress_and_vote(boxes, scores, threshold, least=0.0)
    ]
    assert scores.tolist() == before.tolist()
    assert sorted((score for _, score, _ in whole), reverse=True) == [score for _, score, _ in whole]
    assert all(score <= scores[index] for index, score, _ in whole)
    elected = suppress_and_vote(boxes, scores, threshold, least=least, limit=limit)
    expected = [one for one in whole if one[1] >= least][:limit]
    assert [(one.best, one.score, one.voters.tolist()) for one in elected] == expected


@given(candidates(), st.sampled_from([0.0, 0.4, 0.75, 1.0]))
def test_voters_agree_with_the_box_they_vote_for_and_vote_once(
    found: tuple[list[list[float]], list[float]], threshold: float
) -> None:
    boxes, scores = np.array(found[0]).reshape(-1, 4), np.array(found[1])
    voted: list[int] = []
    for index, _, voters in suppress_and_vote(boxes, scores, threshold, least=0.0):
        assert voters[0] == index
        voted += voters.tolist()
        for voter in voters[1:]:
            # alone with it, the box would suppress the voter even at the higher of both overlaps
            pair = np.array([boxes[index], boxes[voter]])
            assert len(non_maximum_suppression(pair, np.array([1.0, 0.5]), max(threshold, SAME_FACE))) == 1
            assert scores[index] / 4 < scores[voter]
    assert len(voted) == len(set(voted))


def test_who_votes() -> None:
    box = [0.0, 0.0, 100.0, 100.0]
    boxes = np.array(
        [
            box,
            [0.0, 0.0, 100.0, 90.0],  # overlaps by 0.9
            [0.0, 0.0, 100.0, 50.0],  # overlaps by half: another face, of which half the score is left
            [0.0, 0.0, 100.0, 95.0],  # is not confident enough
            [300.0, 0.0, 400.0, 100.0],  # another face
            [500.0, 0.0, 600.0, 100.0],  # no face at this threshold
        ]
    )
    scores = np.array([0.8, 0.3, 0.7, 0.2, 0.6, 0.2])
    elected = suppress_and_vote(boxes, scores, 0.4, least=0.5)
    assert [(index, voters.tolist()) for index, _, voters in elected] == [(0, [0, 1]), (4, [4])]
    elected = suppress_and_vote(boxes, scores, 0.4, least=0.35)
    assert [(index, score) for index, score, _ in elected] == [(0, 0.8), (4, 0.6), (2, pytest.approx(0.35))]
