from __future__ import annotations

from collections.abc import Callable

import cv2
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from PIL import Image

from featherface.images import decode
from featherface.resize import FITS, MEAN_BGR, SIZES, STRIDE, Fit, plan, to_model_input

SIDES = st.integers(1, 12_000)


@given(SIDES, SIDES, st.sampled_from(SIZES), st.sampled_from(FITS))
def test_geometry(width: int, height: int, size: int, fit: Fit) -> None:
    transform = plan(width, height, size, fit)
    rows, columns = transform.bucket
    assert rows % STRIDE == columns % STRIDE == 0
    assert max(transform.scaled_width, transform.scaled_height) == size
    assert 1 <= transform.scaled_width <= columns
    assert 1 <= transform.scaled_height <= rows
    if fit == "square":
        assert transform.bucket == (size, size)
    else:
        assert rows - transform.scaled_height < STRIDE
        assert columns - transform.scaled_width < STRIDE
    scale = size / max(width, height)
    assert abs(transform.scaled_width - max(1, width * scale)) <= 0.5
    assert abs(transform.scaled_height - max(1, height * scale)) <= 0.5


@given(SIDES, SIDES, st.sampled_from(SIZES))
def test_corners_map_to_corners(width: int, height: int, size: int) -> None:
    transform = plan(width, height, size, "long_side")
    corners = np.array([[0, 0, transform.scaled_width, transform.scaled_height]], dtype=np.float32)
    np.testing.assert_allclose(transform.to_photo(corners), [[0, 0, width, height]], rtol=1e-12)


@given(SIDES, SIDES, st.sampled_from(SIZES), st.lists(st.floats(-500, 2000), min_size=10, max_size=10))
def test_way_back_axis_by_axis(width: int, height: int, size: int, numbers: list[float]) -> None:
    transform = plan(width, height, size, "square")
    mapped = transform.to_photo(np.array([numbers]))[0]
    for index, (before, after) in enumerate(zip(numbers, mapped, strict=True)):
        ratio = height / transform.scaled_height if index % 2 else width / transform.scaled_width
        assert after == pytest.approx(before * ratio)


@pytest.mark.parametrize("fit", FITS)
def test_padding_is_zero_and_content_is_bgr_minus_mean(fit: Fit, encode: Callable[..., bytes]) -> None:
    photo = decode(encode(Image.new("RGB", (200, 100), (10, 20, 30))))
    transform = plan(200, 100, 320, fit)
    planes = to_model_input(photo, transform)
    assert planes.dtype == np.float32
    assert planes.shape == (3, *transform.bucket)
    for plane, value, mean in zip(planes, (30, 20, 10), MEAN_BGR, strict=True):
        assert (plane[:160, :320] == value - mean).all()
        assert not plane[160:].any()
        assert not plane[:, 320:].any()


@pytest.mark.parametrize("size", [(90, 61), (333, 500)])
def test_enlarging_agrees_with_opencv(
    size: tuple[int, int], scene: Callable[..., Image.Image], encode: Callable[..., bytes]
) -> None:
    photo = decode(encode(scene(*size, 1)))
    transform = plan(*size, 640, "long_side")
    scaled = (transform.scaled_width, transform.scaled_height)
    expected = (
        cv2.resize(np.asarray(photo.image)[:, :, ::-1], scaled, interpolation=cv2.INTER_LINEAR).astype(
            np.float32
        )
        - MEAN_BGR
    )
    found = to_model_input(photo, transform)[:, : scaled[1], : scaled[0]].transpose(1, 2, 0)
    assert np.abs(found - expected).max() <= 2


def test_shrinking_agrees_with_opencv(
    scene: Callable[..., Image.Image], encode: Callable[..., bytes]
) -> None:
    """OpenCV's area filter is a box, Pillow's widened bilinear a triangle: on smooth pictures they agree."""
    photo = decode(encode(scene(2000, 1500, 2)))
    transform = plan(2000, 1500, 640, "long_side")
    expected = (
        cv2.resize(np.asarray(photo.image)[:, :, ::-1], (640, 480), interpolation=cv2.INTER_AREA).astype(
            np.float32
        )
        - MEAN_BGR
    )
    assert np.abs(to_model_input(photo, transform).transpose(1, 2, 0) - expected).max() <= 2


def test_shrinking_does_not_alias(encode: Callable[..., bytes]) -> None:
    """One pixel wide stripes become grey, not a moire pattern."""
    stripes = np.zeros((1000, 1000, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    photo = decode(encode(Image.fromarray(stripes)), long_side=352)
    grey = to_model_input(photo, plan(1000, 1000, 352, "long_side")) + np.array(MEAN_BGR)[:, None, None]
    assert np.abs(grey - 127.5).max() < 30
