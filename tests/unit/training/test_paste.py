import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import assume, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from featherface_training.data.augment import AugmentSettings, augment  # noqa: E402
from featherface_training.data.device import paste_on_device  # noqa: E402
from featherface_training.data.paste import choose_pastes, paste  # noqa: E402
from featherface_training.data.wider import LabelledPhoto  # noqa: E402

SIZE = 256


@st.composite
def labelled(draw):
    """Some faces of a crop, with landmarks, and a region without labels."""
    boxes = []
    for _ in range(draw(st.integers(1, 5))):
        left, top = draw(st.integers(0, SIZE - 12)), draw(st.integers(0, SIZE - 12))
        width, height = draw(st.integers(4, 90)), draw(st.integers(4, 110))
        boxes.append([left, top, min(left + width, SIZE), min(top + height, SIZE)])
    boxes = np.array(boxes, np.float32)
    sides = boxes[:, None, 2:] - boxes[:, None, :2]
    points = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]], np.float32)
    landmarks = boxes[:, None, :2] + sides * points
    heights = (boxes[:, 3] - boxes[:, 1]) * np.float32(3)
    return LabelledPhoto("a", boxes, landmarks, np.array([[100, 100, 140, 150]], np.float32), heights)


def overlap(a, b):
    return (np.minimum(a[2:], b[2:]) > np.maximum(a[:2], b[:2])).all()


@settings(max_examples=150)
@given(labelled(), st.integers(0, 2**32 - 1))
def test_copies_are_smaller_faces_where_nothing_is(photo, seed):
    pastes, labels = choose_pastes(np.random.default_rng(seed), photo, SIZE, 1.0)
    count = len(photo.boxes)
    assert len(labels.boxes) == len(labels.landmarks) == len(labels.heights) == count + len(pastes)
    for name in ("boxes", "landmarks", "heights", "ignored"):
        kept = getattr(labels, name)[: len(getattr(photo, name))]
        np.testing.assert_array_equal(kept, getattr(photo, name))
    for i, one in enumerate(pastes):
        box, points = labels.boxes[count + i], labels.landmarks[count + i]
        height = box[3] - box[1]
        assert height <= 32 * 1.2
        # a copy is as much smaller in its photo as it is here, where faces had a third of their height
        assert labels.heights[count + i] == pytest.approx(3 * height, rel=1e-3)
        assert (points >= box[:2]).all()
        assert (points <= box[2:]).all()
        target = np.array(one.target, np.float32)
        assert (box >= [*target[:2], *target[:2]]).all()
        assert (box <= [*target[2:], *target[2:]]).all()
        others = [*photo.boxes, *photo.ignored, *(np.array(other.target) for other in pastes[:i])]
        assert not any(overlap(target, other) for other in others)
        assert target.min() >= 0
        assert target.max() <= SIZE


@settings(max_examples=40)
@given(labelled(), st.integers(0, 2**32 - 1))
def test_a_device_pastes_what_the_cpu_does_and_nothing_elsewhere(photo, seed):
    pastes, _ = choose_pastes(np.random.default_rng(seed), photo, SIZE, 1.0)
    assume(pastes)
    image = np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    before = image.copy()
    got = paste(image, pastes)
    np.testing.assert_array_equal(image, before)
    touched = np.zeros((SIZE, SIZE), bool)
    for one in pastes:
        touched[one.target.top : one.target.bottom, one.target.left : one.target.right] = True
    np.testing.assert_array_equal(got[~touched], image[~touched])
    tensor = torch.from_numpy(image).permute(2, 0, 1).float()
    paste_on_device(tensor, pastes)
    # areas are averaged by two libraries that weigh a window's last pixels unlike each other
    apart = np.abs(tensor.permute(1, 2, 0).numpy() - got)
    assert apart.mean() < 4
    np.testing.assert_array_equal(apart[~touched], 0)


def test_a_copy_shows_its_face():
    image = np.full((SIZE, SIZE, 3), 20, np.uint8)
    image[60:160, 70:150] = 240
    photo = LabelledPhoto("a", np.array([[70, 60, 150, 160]], np.float32), np.zeros((1, 5, 2), np.float32))
    seen = 0
    for seed in range(20):
        pastes, labels = choose_pastes(np.random.default_rng(seed), photo, SIZE, 1.0)
        result = paste(image, pastes)
        for box in labels.boxes[1:]:
            x, y = ((box[:2] + box[2:]) / 2).astype(int)
            assert result[y, x].tolist() == [240, 240, 240]
            seen += 1
    assert seen > 20


def test_faces_at_the_edge_and_faces_that_are_small_are_not_copied():
    boxes = np.array([[0, 50, 60, 120], [200, 200, 206, 207]], np.float32)
    photo = LabelledPhoto("a", boxes, np.zeros((2, 5, 2), np.float32))
    for seed in range(20):
        pastes, labels = choose_pastes(np.random.default_rng(seed), photo, SIZE, 1.0)
        assert not pastes
        assert labels is photo


def test_a_run_without_copies_sees_the_crops_that_it_saw():
    pixels = np.random.default_rng(1).integers(0, 256, (200, 240, 3), dtype=np.uint8)
    photo = LabelledPhoto("a", np.array([[80, 60, 140, 130]], np.float32), np.zeros((1, 5, 2), np.float32))
    more = 0
    for seed in range(30):
        plain, labels = augment(np.random.default_rng(seed), pixels, photo, 128, AugmentSettings())
        some, pasted = augment(np.random.default_rng(seed), pixels, photo, 128, AugmentSettings(paste=0.5))
        np.testing.assert_array_equal(pasted.boxes[: len(labels.boxes)], labels.boxes)
        more += len(pasted.boxes) > len(labels.boxes)
        assert np.array_equal(plain, some) == (len(pasted.boxes) == len(labels.boxes))
    assert 0 < more < 30
