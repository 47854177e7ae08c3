from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from featherface import BoundingBox, Detections, Face, ImageTooLargeError, Landmarks, Point
from featherface.drawing import draw
from featherface.images import ImageLimits

Encode = Callable[..., bytes]


def _faces(*boxes: tuple[float, float, float, float]) -> tuple[Face, ...]:
    faces = []
    for left, top, width, height in boxes:
        centre = Point(left + width / 2, top + height / 2)
        faces.append(Face(0.9, BoundingBox(left, top, width, height), Landmarks(*[centre] * 5)))
    return tuple(faces)


def test_draws_on_the_upright_photo(encode: Encode) -> None:
    data = encode(Image.new("RGB", (300, 400), (90, 90, 90)), "JPEG", 6)
    picture = draw(data, Detections(400, 300, _faces((100, 80, 120, 100))))
    pixels = np.asarray(picture).astype(int)
    assert picture.size == (400, 300)
    changed = np.abs(pixels - 90).max(axis=2) > 40
    rows, columns = np.nonzero(changed)
    assert columns.min() == 100
    assert columns.max() == 220
    assert rows.max() == 180
    assert changed[130, 160]
    assert not changed[110, 120]


def test_scales_down_but_never_up(encode: Encode) -> None:
    data = encode(Image.new("RGB", (2000, 1000)), "JPEG")
    detections = Detections(2000, 1000, _faces((1000, 500, 400, 400)))
    small = draw(data, detections, long_side=500)
    assert small.size == (500, 250)
    assert np.asarray(small)[200:, 250:350].any()
    assert not np.asarray(small)[:, :240].any()
    assert draw(data, detections, long_side=5000).size == (2000, 1000)


def test_labels_stay_inside(encode: Encode) -> None:
    """At every corner: nothing raises, and the label of the top face is drawn inside of its box."""
    data = encode(Image.new("RGB", (200, 200)))
    corners = [(0, 0), (140, 0), (0, 140), (140, 140)]
    picture = draw(data, Detections(200, 200, _faces(*[(x, y, 60.0, 60.0) for x, y in corners])))
    assert np.asarray(picture)[5:12, 2:20].any()


@pytest.mark.parametrize("box", [(0.0, 0.0, 0.0, 0.0), (5.0, 5.0, 1.0, 1.0), (0.0, 0.0, 20.0, 20.0)])
def test_tiny_and_whole_boxes(box: tuple[float, float, float, float], encode: Encode) -> None:
    assert draw(encode(Image.new("RGB", (20, 20))), Detections(20, 20, _faces(box))).size == (20, 20)


def test_no_face_leaves_the_photo(scene: Callable[..., Image.Image], encode: Encode) -> None:
    picture = scene(50, 40, 1)
    np.testing.assert_array_equal(np.asarray(draw(encode(picture), Detections(50, 40))), np.asarray(picture))


def test_another_photo_is_refused(encode: Encode) -> None:
    with pytest.raises(ValueError, match="a photo of 20 x 10 pixels, this one has 10 x 20"):
        draw(encode(Image.new("RGB", (10, 20))), Detections(20, 10))


def test_limits_hold(encode: Encode) -> None:
    with pytest.raises(ImageTooLargeError):
        draw(encode(Image.new("RGB", (10, 20))), Detections(10, 20), limits=ImageLimits(max_pixels=10))
