import numpy as np
import pytest

from featherface_training.evaluation.reliability import Judged, judge, reliability

FACES = np.array([[0, 0, 10, 10], [20, 20, 30, 30], [40, 40, 50, 50]], float)


def found(*rows):
    return np.array(rows, float).reshape(-1, 5)


def test_the_most_confident_takes_the_face_and_ignored_faces_count_neither_way():
    judged = judge(
        found(
            [0, 0, 10, 9, 0.3],  # the same face again
            [0, 0, 10, 10, 0.9],
            [21, 20, 31, 30, 0.8],  # not counted
            [41, 40, 51, 50, 0.7],
            [60, 60, 70, 70, 0.6],
        ),
        FACES,
        np.array([True, False, True]),
    )
    assert judged.confidence.tolist() == [0.9, 0.7, 0.6, 0.3]
    assert judged.right.tolist() == [True, True, False, False]


def test_on_a_photo_without_faces_all_is_wrong():
    judged = judge(found([0, 0, 5, 5, 0.9]), np.empty((0, 4)), np.empty(0, bool))
    assert judged.right.tolist() == [False]


def test_reliability_is_the_weighted_difference():
    table = reliability(Judged(np.array([0.25, 0.25, 1.0, 1.0]), np.array([True, False, True, True])))
    assert table.count.tolist() == [0, 0, 2, 0, 0, 0, 0, 0, 0, 2]
    assert table.right[[2, 9]].tolist() == [0.5, 1.0]
    assert table.error == pytest.approx((0.25 * 2 + 0 * 2) / 4)


def test_confidences_that_are_probabilities_have_hardly_an_error():
    rng = np.random.default_rng(1)
    confidence = rng.random(20_000)
    right = rng.random(len(confidence)) < confidence
    assert reliability(Judged(confidence, right)).error < 0.02
    assert reliability(Judged(confidence**2, right)).error > 0.1


def test_nothing_found_is_no_error():
    table = reliability(Judged.together([]))
    assert table.count.sum() == 0
    assert table.error == 0
