import numpy as np
import pytest
from PIL import Image

from featherface_training.evaluation.ground_truth import PhotoTruth
from featherface_training.evaluation.placement import place_by_height
from featherface_training.evaluation.run import input_scales


def photo(*boxes, counted=None):
    table = np.array(boxes, float).reshape(-1, 4)
    return PhotoTruth(table, {"hard": np.ones(len(table), bool) if counted is None else np.array(counted)})


def test_boxes_that_are_too_large_or_beside_their_place_are_told_apart():
    truth = {"a": photo((10, 10, 8, 8), (50, 10, 8, 8), (90, 10, 8, 8), (10, 60, 20, 20))}
    found = {
        "a": np.array(
            [
                # twice as large, in its place; as large, three and four pixels beside it; nothing; exact
                [6, 6, 16, 16, 0.9],
                [53, 7, 8, 8, 0.2],
                [10, 60, 20, 20, 0.5],
            ]
        )
    }
    table = place_by_height(found, truth, {"a": 1.0})
    assert list(table) == [(8, 10), (16, 24)]
    small, large = table[8, 10], table[16, 24]
    assert (small.faces, small.near, small.overlapping) == (3, pytest.approx(2 / 3), 0.0)
    assert small.distance == pytest.approx((0 + np.hypot(3, 3)) / 2)
    assert small.size == pytest.approx(np.sqrt(2))
    assert (large.faces, large.near, large.overlapping, large.distance, large.size) == (1, 1, 1, 0, 1)


def test_heights_and_distances_are_those_of_the_networks_input():
    truth = {"a": photo((20, 20, 24, 24))}
    found = {"a": np.array([[26, 20, 24, 24, 0.9]])}
    whole, half = (place_by_height(found, truth, {"a": scale}) for scale in (1.0, 0.5))
    assert whole[24, 40].distance == pytest.approx(6)
    assert half[12, 16].distance == pytest.approx(3)


def test_faces_that_do_not_count_and_photos_without_detections_are_no_errors():
    truth = {"a": photo((10, 10, 8, 8), (50, 10, 8, 8), counted=[True, False]), "b": photo()}
    table = place_by_height({"a": np.empty((0, 5)), "b": np.empty((0, 5))}, truth, {"a": 1.0, "b": 1.0})
    assert table[8, 10].faces == 1
    assert table[8, 10].near == table[8, 10].overlapping == 0
    assert np.isnan(table[8, 10].size)


def test_the_input_of_a_photo_is_as_long_as_asked(tmp_path):
    Image.new("RGB", (200, 400)).save(tmp_path / "a.png")
    photos = {"a": tmp_path / "a.png"}
    assert input_scales(photos, 640) == {"a": 1.6}
    assert input_scales(photos, "original") == {"a": 1.0}
