from __future__ import annotations

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from featherface.priors import decode_boxes, decode_landmarks, make_priors

SIDES = st.integers(1, 12).map(lambda n: 32 * n)


@given(SIDES, SIDES)
def test_priors_against_loops(height: int, width: int) -> None:
    """The formulation of the original code: for each level, row, column and size."""
    expected = []
    for stride, sides in ((8, (16, 32)), (16, (64, 128)), (32, (256, 512))):
        for i in range(math.ceil(height / stride)):
            for j in range(math.ceil(width / stride)):
                for side in sides:
                    expected.append(((j + 0.5) * stride, (i + 0.5) * stride, side, side))
    np.testing.assert_array_equal(make_priors(height, width), np.array(expected, dtype=np.float32))


def test_count_of_the_published_input() -> None:
    assert make_priors(640, 640).shape == (16_800, 4)


def test_priors_are_cached_and_read_only() -> None:
    priors = make_priors(320, 352)
    assert make_priors(320, 352) is priors
    with pytest.raises(ValueError, match="read-only"):
        priors[0, 0] = 1


@given(st.integers(0, 2**32 - 1))
def test_decoding_against_scalars(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 420, 7)
    priors = make_priors(96, 160)[rows % len(make_priors(96, 160))]
    boxes = rng.normal(0, 2, (7, 4)).astype(np.float32)
    points = rng.normal(0, 2, (7, 10)).astype(np.float32)
    found_boxes, found_points = decode_boxes(boxes, priors), decode_landmarks(points, priors)
    for row in range(7):
        px, py, pw, ph = map(float, priors[row])
        x, y, w, h = map(float, boxes[row])
        cx, cy = px + x * 0.1 * pw, py + y * 0.1 * ph
        wide, high = pw * math.exp(w * 0.2), ph * math.exp(h * 0.2)
        corners = (cx - wide / 2, cy - high / 2, cx + wide / 2, cy + high / 2)
        assert found_boxes[row].tolist() == pytest.approx(corners, rel=1e-4, abs=1e-3)
        for k in range(5):
            expected = (px + points[row][2 * k] * 0.1 * pw, py + points[row][2 * k + 1] * 0.1 * ph)
            assert found_points[row][2 * k : 2 * k + 2].tolist() == pytest.approx(
                expected, rel=1e-4, abs=1e-3
            )


def test_outliers_do_not_overflow() -> None:
    with np.errstate(all="raise", under="ignore"):
        decoded = decode_boxes(np.full((1, 4), 1e6, dtype=np.float32), make_priors(32, 32)[:1])
    assert np.isfinite(decoded).all()


def test_no_prior_gives_empty_arrays() -> None:
    none = np.empty((0, 4), dtype=np.float32)
    assert decode_boxes(none, none).shape == (0, 4)
    assert decode_landmarks(np.empty((0, 10), dtype=np.float32), none).shape == (0, 10)
