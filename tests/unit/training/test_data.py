import gzip
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2")

from hypothesis import example, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from PIL import Image  # noqa: E402

from featherface.images import DecodedImage  # noqa: E402
from featherface.resize import plan, to_model_input  # noqa: E402
from featherface_training.data.annotations import read_annotations, split_source, write_annotations  # noqa: E402
from featherface_training.data.augment import (  # noqa: E402
    BGR_MEAN,
    AugmentSettings,
    augment,
    choose_angle,
    mosaic,
)
from featherface_training.data.mixture import Mixture, epoch_steps  # noqa: E402
from featherface_training.data.packed import PackedDataset, pack  # noqa: E402
from featherface_training.data.wider import LabelError, LabelledPhoto, read_labels, read_wider  # noqa: E402


def test_a_data_set_on_the_command_line_has_a_name_labels_and_photos():
    assert split_source("cats=a=b/c:d.jsonl:e/f") == ("cats", Path("a=b/c:d.jsonl"), Path("e/f"))
    for item in ("a.jsonl:photos", "=a.jsonl:photos", "cats=a.jsonl", "cats=:photos", "cats=a.jsonl:"):
        with pytest.raises(LabelError, match=f"NAME=LABELS:PHOTOS, .* got '{item}'"):
            split_source(item)


def test_labels_and_photos_are_paired_and_missing_photos_left_out(wider):
    pairs = read_wider(*wider)
    assert [photo.name for _, photo in pairs] == [f"0--Squares/{i}.jpg" for i in range(12)]
    assert [len(photo.boxes) for _, photo in pairs] == [0, 1, 2] * 4


def test_gzipped_labels_read_the_same(wider, tmp_path):
    _, labels = wider
    packed = tmp_path / "label.txt.gz"
    packed.write_bytes(gzip.compress(labels.read_bytes()))
    plain, zipped = list(read_labels(labels)), list(read_labels(packed))
    assert [p.name for p in plain] == [p.name for p in zipped]


def test_unknown_landmarks_are_nan(wider):
    last = list(read_labels(wider[1]))[-1]
    assert last.boxes.tolist() == [[1, 2, 31, 42]]
    assert np.isnan(last.landmarks).all()


def test_a_line_that_is_no_face_names_file_and_line(tmp_path):
    labels = tmp_path / "label.txt"
    labels.write_text("# a/b.jpg\n1 2 3\n")
    with pytest.raises(LabelError, match=r"label\.txt:2: expected .* got '1 2 3'"):
        list(read_labels(labels))


def test_a_root_without_photos_says_what_was_expected(tmp_path, wider):
    with pytest.raises(LabelError, match="WIDER_train/images"):
        read_wider(tmp_path, wider[1])


def test_packing_keeps_pixels_and_faces(wider, packed):
    for i, (path, photo) in enumerate(read_wider(*wider)):
        pixels, kept = packed[i]
        assert kept.name == photo.name
        np.testing.assert_array_equal(pixels, cv2.imread(str(path)))
        np.testing.assert_array_equal(kept.boxes, photo.boxes)
        np.testing.assert_array_equal(kept.landmarks, photo.landmarks)


def draw(width, height, box):
    pixels = np.zeros((height, width, 3), np.uint8)
    left, top, right, bottom = (int(v) for v in box)
    pixels[top:bottom, left:right] = 255
    return pixels


@settings(max_examples=60)
@given(
    st.integers(0, 10_000),
    st.sampled_from([(320, 240), (240, 400), (300, 300)]),
    st.sampled_from([0.4, 0.7, 1.0, 1.6]),
)
def test_boxes_stay_on_their_faces_through_crop_zoom_and_flip(seed, shape, scale):
    width, height = shape
    rng = np.random.default_rng(seed)
    side = int(rng.integers(30, 80))
    left, top = int(rng.integers(0, width - side)), int(rng.integers(0, height - side))
    boxes = np.array([[left, top, left + side, top + side]], np.float32)
    photo = LabelledPhoto("a.jpg", boxes, np.full((1, 5, 2), np.nan, np.float32), boxes)
    image, labels = augment(rng, draw(width, height, boxes[0]), photo, 160, AugmentSettings((scale,)))
    out = labels.boxes
    if len(out):
        np.testing.assert_array_equal(labels.ignored, out)
    assert image.shape == (160, 160, 3)
    if len(out):
        # the face is the brightest thing; colour distortion keeps that order, and the padding's distance
        grey = image.max(-1).astype(int)
        bright = grey > 0.9 * grey.max()
        ys, xs = np.nonzero(bright)
        if grey.max() - grey.min() > 150:
            found = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
            np.testing.assert_allclose(out[0], found, atol=2.5)


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(90, 200))
def test_a_close_up_is_filled_by_the_largest_face(seed, side):
    rng = np.random.default_rng(seed)
    # faces may reach the photo's edge
    left, top = int(rng.integers(0, 301 - side)), int(rng.integers(0, 221 - side))
    boxes = np.array([[2, 2, 12, 14], [left, top, left + side, top + side]], np.float32)
    photo = LabelledPhoto("a.jpg", boxes, np.full((2, 5, 2), np.nan, np.float32))
    image, labels = augment(rng, draw(300, 220, boxes[1]), photo, 512, AugmentSettings(close_up=1.0))
    assert image.shape == (512, 512, 3)
    largest = labels.boxes[(labels.boxes[:, 2:] - labels.boxes[:, :2]).prod(1).argmax()]
    assert (largest >= 0).all()
    assert (largest <= 512).all()
    sides = largest[2:] - largest[:2]
    # all of the face is seen: it is still a square
    assert sides[0] == pytest.approx(sides[1], abs=2)
    assert 512 / 2.05 <= sides[0] <= 512 / 1.05
    inside = image[int(largest[1]) + 8 : int(largest[3]) - 8, int(largest[0]) + 8 : int(largest[2]) - 8]
    assert inside.max(-1).mean() > image.max(-1).mean()


def test_small_crops_and_photos_without_faces_have_no_close_ups():
    pixels = draw(300, 220, np.array([20, 20, 200, 200]))
    photo = LabelledPhoto(
        "a.jpg", np.array([[20, 20, 200, 200]], np.float32), np.full((1, 5, 2), np.nan, np.float32)
    )
    empty = LabelledPhoto("b.jpg", np.zeros((0, 4), np.float32), np.zeros((0, 5, 2), np.float32))

    def cut(labels, size, **settings):
        return augment(np.random.default_rng(7), pixels, labels, size, AugmentSettings(**settings))[0]

    for labels, size in ((photo, 320), (empty, 512)):
        assert np.array_equal(cut(labels, size), cut(labels, size, close_up=1.0))
    assert not np.array_equal(cut(photo, 320), cut(photo, 320, close_up=1.0, close_up_from=320))


@settings(max_examples=60)
@example(5986, (320, 240), 1.0)
@example(903, (240, 400), 0.5)
@given(
    st.integers(0, 10_000),
    st.sampled_from([(320, 240), (240, 400)]),
    st.sampled_from([0.5, 1.0, 1.5]),
)
def test_boxes_and_landmarks_stay_on_their_faces_through_rotation(seed, shape, scale):
    width, height = shape
    rng = np.random.default_rng(seed)
    half = rng.integers(20, 50, 2)
    centre = np.array(
        [int(rng.integers(half[0], width - half[0])), int(rng.integers(half[1], height - half[1]))]
    )
    pixels = np.zeros((height, width, 3), np.uint8)
    cv2.ellipse(pixels, centre.tolist(), half.tolist(), 0, 0, 360, (200, 200, 200), -1)
    # a mark in the upper half: the ellipse alone would look the same on its head
    eye = centre - [0, half[1] // 2]
    cv2.circle(pixels, eye.tolist(), 6, (255, 255, 255), -1)
    boxes = np.concatenate([centre - half, centre + half])[None].astype(np.float32)
    points = np.broadcast_to(eye.astype(np.float32), (1, 5, 2)).copy()
    photo = LabelledPhoto("a.jpg", boxes, points, boxes)
    same = deepcopy(rng)
    image, labels = augment(rng, pixels, photo, 160, AugmentSettings((scale,), rotate=1.0))
    assert image.shape == (160, 160, 3)
    if not len(labels.boxes):
        return
    # made lighter, the padding is as light as a face: take off what the crop is without one
    empty, _ = augment(same, np.zeros_like(pixels), photo, 160, AugmentSettings((scale,), rotate=1.0))
    grey = (image.astype(int) - empty).min(-1)
    box, region = labels.boxes[0], labels.ignored[0]
    assert (region[:2] <= box[:2] + 0.01).all()
    assert (region[2:] >= box[2:] - 0.01).all()
    ys, xs = np.nonzero(grey > 0.6 * grey.max())
    found = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
    if (box > 0).all() and (box < 160).all():
        np.testing.assert_allclose(box, found, atol=3)
    else:
        # the widest part of a rotated ellipse may lie outside the crop
        assert (box[:2] - 3 <= found[:2]).all()
        assert (found[2:] <= box[2:] + 3).all()
    x, y = labels.landmarks[0, 0].astype(int).tolist()
    if 0 <= x < 160 and 0 <= y < 160:
        assert grey[y, x] > 0.97 * grey.max()


def test_half_turns_occur_and_small_ones_are_more_frequent():
    rng = np.random.default_rng(0)
    angles = np.abs([choose_angle(rng, AugmentSettings(rotate=0.5)) for _ in range(4000)])
    assert np.mean(angles == 0) == pytest.approx(0.5, abs=0.03)
    assert np.mean(angles > np.pi / 2) == pytest.approx(0.1, abs=0.02)
    assert angles.max() > 3


def test_a_flip_swaps_left_and_right_landmarks():
    pixels = np.zeros((200, 200, 3), np.uint8)
    boxes = np.array([[60, 60, 140, 140]], np.float32)
    points = np.array([[[80, 90], [120, 90], [100, 105], [85, 125], [109, 125]]], np.float32)
    seen = set()
    for seed in range(12):
        photo = LabelledPhoto("a.jpg", boxes, points)
        _, labels = augment(np.random.default_rng(seed), pixels, photo, 200, AugmentSettings((1.0,)))
        out, moved = labels.boxes, labels.landmarks
        left_eye, right_eye, nose, mouth_left, mouth_right = moved[0]
        assert left_eye[0] < nose[0] < right_eye[0]
        assert mouth_left[0] < nose[0] < mouth_right[0]
        assert left_eye[1] < nose[1] < mouth_left[1]
        assert (moved[0] >= out[0, :2]).all()
        assert (moved[0] <= out[0, 2:]).all()
        seen.add(round(float(mouth_left[0])))
    assert len(seen) == 2, "both the photo and its mirror image must occur"


@pytest.mark.parametrize("shrink", ["deployed", "mixed"])
def test_crops_shrink_as_photos_do_where_faces_are_detected(shrink):
    pixels = np.random.default_rng(3).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    photo = LabelledPhoto("noise.jpg", *(np.zeros((0, *n), np.float32) for n in ((4,), (5, 2))))
    chosen = AugmentSettings(scales=(1.0,), shrink=shrink)
    decoded = DecodedImage(Image.fromarray(pixels[:, :, ::-1]), (0.0, 0.0, 200.0, 200.0), 200, 200)
    planes = to_model_input(decoded, plan(200, 200, 96, "square"))
    expected = planes.transpose(1, 2, 0) + np.array(BGR_MEAN)
    # about one in five keeps its colours
    crops = [augment(np.random.default_rng(seed), pixels, photo, 96, chosen)[0] for seed in range(60)]
    same = [np.array_equal(crop, expected) or np.array_equal(crop[:, ::-1], expected) for crop in crops]
    assert any(same) == (shrink == "deployed")


def test_a_mosaic_keeps_each_photos_labels_in_its_quarter():
    parts = []
    for value in (60, 110, 160, 210):
        pixels = np.zeros((100, 100, 3), np.uint8)
        pixels[30:70, 30:70] = value
        box = np.array([[30, 30, 70, 70]], np.float32)
        parts.append((pixels, LabelledPhoto("a", box, np.full((1, 5, 2), np.nan, np.float32), box)))
    image, labels = mosaic(np.random.default_rng(0), parts, 200, AugmentSettings((1.0,)))
    assert image.shape == (200, 200, 3)
    assert labels.boxes.tolist() == labels.ignored.tolist()
    centres = (labels.boxes[:, :2] + labels.boxes[:, 2:]) / 2
    assert centres.tolist() == [[50, 50], [150, 50], [50, 150], [150, 150]]


@settings(max_examples=40)
@given(
    st.integers(1, 300), st.integers(1, 20), st.lists(st.sampled_from([32, 64, 96]), min_size=1, max_size=4)
)
def test_an_epochs_steps_follow_each_other_and_cost_about_the_same(crops, batch, sizes):
    steps = epoch_steps(crops, batch, tuple(sizes))
    position = 0
    for number, step in enumerate(steps):
        assert step.first == position
        assert step.size == sizes[number % len(sizes)]
        assert step.count == 1 or step.count * step.size**2 <= batch * sizes[0] ** 2
        position += step.count
    assert position <= crops


def test_own_labels_are_written_read_packed_and_mixed(tmp_path, packed):
    folder = tmp_path / "photos"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.jpg"), np.full((100, 2000, 3), 90, np.uint8))
    points = np.arange(10, dtype=np.float32).reshape(1, 5, 2)
    region = np.array([[1, 2, 30, 40]], np.float32)
    written = LabelledPhoto("a.jpg", np.array([[10, 20, 60, 80]], np.float32), points, region)
    assert write_annotations(tmp_path / "labels.jsonl", [written]) == 1
    ((path, read),) = read_annotations(tmp_path / "labels.jsonl", folder)
    for name in ("boxes", "landmarks", "ignored"):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
    pack([(path, read)], tmp_path / "pack", limit=1000)
    extra = PackedDataset(tmp_path / "pack")
    pixels, photo = extra[0]
    assert pixels.shape == (50, 1000, 3)
    assert photo.boxes.tolist() == [[5, 10, 30, 40]]
    assert photo.ignored.tolist() == [[0.5, 1, 15, 20]]

    mixed = Mixture(packed, {"own": extra}, {"own": 0.5})
    order = mixed.order(0, 0)
    assert len(mixed) == len(order) == 18
    assert sorted(order[order[:, 0] == 0, 1].tolist()) == list(range(12))
    assert (order[:, 0] == 1).sum() == 6
    assert mixed[order[order[:, 0] == 1][0]][1].name == "a.jpg"
    with pytest.raises(ValueError, match="shares to no extra data, but the data given are \\['own'\\]"):
        Mixture(packed, {"own": extra})
    with pytest.raises(ValueError, match="four photos at once of \\['wider'\\]"):
        Mixture(packed, {"own": extra}, {"own": 0.5}, fourfold=["wider"])


@pytest.mark.parametrize("probability", [0.0, 0.4])
def test_samples_of_a_fourfold_data_set_show_four_of_its_photos(packed, tmp_path, probability):
    for name in "ab":
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.zeros((40, 60, 3), np.uint8))
    nothing = np.zeros((0, 4), np.float32)
    labelled = [
        (tmp_path / f"{n}.png", LabelledPhoto(n, nothing, np.zeros((0, 5, 2), np.float32), nothing))
        for n in "ab"
    ]
    pack(labelled, tmp_path / "pack")
    extra = PackedDataset(tmp_path / "pack")
    plain = Mixture(packed, {"own": extra}, {"own": 0.5})
    fourfold = Mixture(packed, {"own": extra}, {"own": 0.5}, fourfold=["own"])
    order = fourfold.order(0, 0)
    np.testing.assert_array_equal(order, plain.order(0, 0))
    seen = set()
    for position, (which, _) in enumerate(order):
        rows, others = (
            data.sample(np.random.default_rng(position), order, position, probability)
            for data in (fourfold, plain)
        )
        np.testing.assert_array_equal(rows[0], order[position])
        if which == 0 or len(others) == 4:
            # photos of the others, and mosaics of all, are what they are without the setting
            np.testing.assert_array_equal(rows, others)
        else:
            assert rows.shape == (4, 2)
            assert (rows[:, 0] == 1).all()
            seen.update(rows[:, 1].tolist())
    assert seen == {0, 1}


def test_bad_own_labels_name_file_and_line(tmp_path):
    labels = tmp_path / "labels.jsonl"
    labels.write_text('{"file": "a.jpg"}\n')
    with pytest.raises(LabelError, match=r"labels\.jsonl:1: expected a photo's labels"):
        read_annotations(labels, tmp_path)
    labels.write_text('{"file": "a.jpg", "faces": []}\n')
    with pytest.raises(LabelError, match=r"a\.jpg is not under"):
        read_annotations(labels, tmp_path)
    labels.write_text("")
    with pytest.raises(LabelError, match="holds no photo"):
        read_annotations(labels, tmp_path)
