from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import numpy.typing as npt
from hypothesis import given
from PIL import Image, ImageOps

from featherface import Detections, DetectOptions, Detector
from featherface.mirror import averaged, mirrored
from featherface.priors import decode_boxes, decode_landmarks, make_priors
from featherface.runtime import Outputs

SIDES = st.integers(1, 8).map(lambda n: 32 * n)


def answers(seed: int, bucket: tuple[int, int]) -> Outputs:
    rng = np.random.default_rng(seed)
    count = len(make_priors(*bucket))

    def draw(columns: int) -> npt.NDArray[np.float32]:
        return rng.normal(0, 2, (2, count, columns)).astype(np.float32)

    return draw(2), draw(4), draw(10)


def nothing_like(outputs: Outputs) -> Outputs:
    logits, boxes, landmarks = outputs
    return np.zeros_like(logits), np.zeros_like(boxes), np.zeros_like(landmarks)


@given(st.integers(0, 2**32 - 1), SIDES, SIDES)
def test_what_the_mirror_shows_lies_where_geometry_says(seed: int, height: int, width: int) -> None:
    """Decoded, then reflected: the other way round."""
    bucket = (height, width)
    seen = answers(seed, bucket)
    logits, boxes, points = (2 * half for half in averaged(nothing_like(seen), seen, bucket))
    priors = make_priors(*bucket)
    reflected = {(width - x, y, side): row for row, (x, y, side, _) in enumerate(priors.tolist())}
    for row in {0, seed % len(priors), len(priors) - 1}:
        x, y, side, _ = priors[row].tolist()
        there = reflected[x, y, side]
        np.testing.assert_array_equal(logits[:, row], seen[0][:, there])
        for one in range(2):
            left, top, right, bottom = decode_boxes(seen[1][one, [there]], priors[[there]])[0]
            np.testing.assert_allclose(
                decode_boxes(boxes[one, [row]], priors[[row]])[0],
                [width - right, top, width - left, bottom],
                atol=0.05,
            )
            of_mirror = decode_landmarks(seen[2][one, [there]], priors[[there]]).reshape(5, 2)
            here = decode_landmarks(points[one, [row]], priors[[row]]).reshape(5, 2)
            right_eye, left_eye, nose, right_corner, left_corner = of_mirror
            expected = np.array([left_eye, right_eye, nose, left_corner, right_corner])
            np.testing.assert_allclose(here, expected * [-1, 1] + [width, 0], atol=0.05)


@given(st.integers(0, 2**32 - 1))
def test_the_mean_is_that_of_both(seed: int) -> None:
    first, second = answers(seed, (64, 96)), answers(seed + 1, (64, 96))
    alone = averaged(nothing_like(second), second, (64, 96))
    for both, ours, theirs in zip(averaged(first, second, (64, 96)), first, alone, strict=True):
        np.testing.assert_allclose(both, ours / 2 + theirs, atol=1e-5)


def test_inputs_are_turned_along_their_width_and_left_as_they_were() -> None:
    batch = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    before = batch.copy()
    turned = mirrored(batch)
    np.testing.assert_array_equal(turned, batch[:, :, :, [4, 3, 2, 1, 0]])
    assert turned.flags.c_contiguous
    turned[:] = 0
    np.testing.assert_array_equal(batch, before)


def boxes_of(found: Detections) -> npt.NDArray[np.float64]:
    rows = [
        [face.confidence, face.box.left, face.box.top, face.box.width, face.box.height]
        + [value for _, point in face.landmarks.items() for value in (point.x, point.y)]
        for face in found.faces
    ]
    return np.array(rows).reshape(-1, 15)


def test_a_photo_and_its_mirror_image_have_the_same_faces(
    detector: Detector, scene: Callable[..., Image.Image], encode: Callable[..., bytes]
) -> None:
    """Only with two looks: the network alone answers otherwise in the mirror."""
    settings = replace(detector.settings, mirror=True)
    twice = Detector.load(settings=settings)
    # Its sides are multiples of 32, so that the mirror image is not padded on the other side.
    photo = scene(320, 256, 7)
    options = DetectOptions(confidence_threshold=0.001, max_detections=25)
    data, turned = encode(photo), encode(ImageOps.mirror(photo))
    found, there = (boxes_of(twice.detect(one, options)) for one in (data, turned))
    assert len(found) > 3
    there[:, 1] = 320 - there[:, 1] - there[:, 3]
    there[:, 5::2] = 320 - there[:, 5::2]
    points = there[:, 5:].reshape(-1, 5, 2)
    there[:, 5:] = points[:, [1, 0, 2, 4, 3]].reshape(-1, 10)
    np.testing.assert_allclose(found, there, atol=1e-3)
    once = boxes_of(Detector.load(settings=replace(settings, mirror=False)).detect(data, options))
    assert once.shape != found.shape or not np.allclose(once, found, atol=1e-3)


def test_photos_of_a_batch_have_the_faces_that_each_has_alone(
    detector: Detector, scene: Callable[..., Image.Image], encode: Callable[..., bytes]
) -> None:
    settings = replace(detector.settings, mirror=True, confidence_threshold=0.001, max_detections=10)
    twice = Detector.load(settings=settings)
    photos = [encode(scene(*size)) for size in ((320, 200, 1), (300, 200, 2), (200, 320, 3))]
    assert twice.detect_batch(photos) == [twice.detect(photo) for photo in photos]
