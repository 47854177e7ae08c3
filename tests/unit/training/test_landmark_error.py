import cv2
import numpy as np
import pytest

from featherface import BoundingBox, Detections, Face, Landmarks, Point
from featherface_training.evaluation.errors import EvaluationError
from featherface_training.evaluation.landmarks import five_points, landmark_error, read_keypoints

POINTS = np.random.default_rng(3).uniform(20, 60, (68, 2))
POINTS[0], POINTS[16] = (20, 20), (60, 60)


def detector(shift, confidence=0.9, left=10.0):
    five = five_points(POINTS) + np.array([shift, 0])
    box = BoundingBox(left, 10.0, 30.0 if left > 40 else 60.0, 60.0)
    true = Face(confidence, box, Landmarks(*(Point(*p) for p in five.tolist())))
    far = Face(1.0, BoundingBox(70.0, 70.0, 9.0, 9.0), Landmarks(*[Point(0.0, 0.0)] * 5))
    return lambda data: Detections(80, 80, (far, true))


@pytest.fixture
def photos(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((80, 80, 3), np.uint8))
    return tmp_path


@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_the_error_is_the_distance_over_the_faces_size(photos, shift):
    result = landmark_error(detector(shift), photos, {"a.png": POINTS, "not_there.png": POINTS})
    assert (result.photos, result.found) == (1, 1)
    assert result.mean == pytest.approx(shift / 40)


def test_a_face_elsewhere_is_not_the_face(photos):
    result = landmark_error(detector(0.0, left=45.0), photos, {"a.png": POINTS})
    assert (result.photos, result.found) == (1, 0)
    assert np.isnan(result.mean)


def test_tables_are_read_and_mistakes_named(tmp_path):
    table = tmp_path / "points.csv"
    table.write_text("name\na.png," + ",".join(str(v) for v in POINTS.reshape(-1)) + "\n")
    np.testing.assert_allclose(read_keypoints(table)["a.png"], POINTS)
    with pytest.raises(EvaluationError, match="none of the 1 photos"):
        landmark_error(detector(0.0), tmp_path, read_keypoints(table))
    table.write_text("name\na.png,1,2\n")
    with pytest.raises(EvaluationError, match="136 numbers"):
        read_keypoints(table)
