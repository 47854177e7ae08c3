import json

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2")
pytest.importorskip("onnx")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from scipy.io import savemat  # noqa: E402

from featherface_training.data.animals import read_animals  # noqa: E402
from featherface_training.data.annotations import read_annotations  # noqa: E402
from featherface_training.data.heads import around, read_heads  # noqa: E402
from featherface_training.data.poses import read_pose_heads  # noqa: E402
from featherface_training.data.resemblance import Gallery, difference_hash  # noqa: E402
from featherface_training.data.wider import LabelError  # noqa: E402
from featherface_training.evaluation.animals import main as count_animals  # noqa: E402
from featherface_training.evaluation.boxes import overlaps  # noqa: E402
from featherface_training.evaluation.peers import Found  # noqa: E402
from featherface_training.known import read_voc  # noqa: E402
from featherface_training.pseudo_label import agree, main  # noqa: E402


def found(*rows):
    boxes = np.array([row[:4] for row in rows], float).reshape(-1, 4)
    return Found(boxes, np.array([row[4] for row in rows], float), np.zeros((len(rows), 5, 2)))


def test_two_sure_detectors_make_a_face_one_makes_a_doubt():
    a = found((0, 0, 10, 10, 0.9), (50, 50, 60, 60, 0.95), (80, 0, 90, 10, 0.2))
    b = found((1, 0, 11, 10, 0.7), (50, 50, 60, 60, 0.4))
    labels = agree([a, b])
    assert labels.boxes.tolist() == [[0.5, 0, 10.5, 10]]
    assert labels.landmarks.shape == (1, 5, 2)
    assert labels.ignored.tolist() == [[50, 50, 60, 60]]


def test_among_photos_without_faces_a_lone_finding_is_background():
    a, b = found((0, 0, 10, 10, 0.99), (50, 50, 60, 60, 0.5)), found((50, 50, 60, 60, 0.4))
    labels = agree([a, b], negatives=True)
    assert len(labels.boxes) == 0
    assert labels.ignored.tolist() == [[50, 50, 60, 60]]


boxes = st.builds(
    lambda x, y, w, h, score: (x, y, x + w, y + h, score),
    *(st.integers(0, 60) for _ in range(2)),
    *(st.integers(4, 40) for _ in range(2)),
    st.floats(0.05, 1),
)


@settings(max_examples=60)
@given(st.lists(boxes, max_size=6), st.lists(boxes, max_size=6))
def test_every_doubt_is_answered_and_one_detector_never_suffices(first, second):
    a, b = found(*first), found(*second)
    labels = agree([a, b])
    answered = np.concatenate([labels.boxes, labels.ignored])
    for box in np.concatenate([f.boxes[f.scores >= 0.3] for f in (a, b)]):
        # a mean of boxes that each overlap the best by half overlaps each of them still
        assert len(answered)
        assert overlaps(box[None], answered).max() > 0.2
    assert len(agree([a, found()]).boxes) == 0
    assert len(agree([a, a]).boxes) == 0 or (a.scores >= 0.6).any()


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    for name in ("a.png", "deep/b.png"):
        cv2.imwrite(str(folder / name), np.zeros((64, 64, 3), np.uint8))
    (folder / "broken.jpg").write_bytes(b"no photo")
    return folder


@pytest.fixture
def label(tmp_path, photos, peers):
    def run(*extra, kinds=("scrfd", "yunet")):
        detectors = [part for kind in kinds for part in ("--detector", str(peers.make(kind)))]
        output = tmp_path / "labels.jsonl"
        main([str(photos), *detectors, "--size", "64", "--output", str(output), *extra])
        return output

    return run


def test_labelling_a_folder(label, peers, photos, capsys):
    output = label(kinds=("scrfd", "retinaface", "yunet"))
    assert "2 photos, 2 faces, 0 ignored regions" in capsys.readouterr().out
    pairs = read_annotations(output, photos)
    assert [photo.name for _, photo in pairs] == ["a.png", "deep/b.png"]
    for _, photo in pairs:
        np.testing.assert_allclose(photo.boxes, [peers.box], atol=0.1)
        np.testing.assert_allclose(photo.landmarks, [peers.points], atol=0.1)
        assert len(photo.ignored) == 0


def voc(*corners):
    names = ("xmin", "ymin", "xmax", "ymax")
    parts = ["".join(f"<{n}>{v}</{n}>" for n, v in zip(names, box, strict=True)) for box in corners]
    return f"<annotation>{''.join(f'<object><bndbox>{p}</bndbox></object>' for p in parts)}</annotation>"


def test_known_boxes_are_the_faces_and_what_nobody_boxed_is_ignored(tmp_path, label, peers):
    folder = tmp_path / "voc"
    folder.mkdir()
    (folder / "a.xml").write_text(voc([15, 8, 47, 55], [60, 60, 60, 62]))
    (folder / "b.xml").write_text(voc([0, 0, 12, 12]))
    assert read_voc(folder / "a.xml").tolist() == [[15, 8, 47, 55]]
    first, second = (json.loads(line) for line in label("--voc", str(folder)).read_text().splitlines())
    assert first["faces"][0]["box"] == [15, 8, 47, 55]
    np.testing.assert_allclose(first["faces"][0]["landmarks"], peers.points, atol=0.1)
    assert first["ignored"] == []
    assert second["faces"] == [{"box": [0, 0, 12, 12], "landmarks": None}]
    np.testing.assert_allclose(second["ignored"], [peers.box], atol=0.1)


def test_known_points_are_the_landmarks(tmp_path, label):
    points = np.tile([20.0, 12], (68, 1))
    points[8], points[30], points[48], points[54] = (44, 50), (33, 31), (27, 45), (39, 45)
    table = tmp_path / "points.csv"
    table.write_text("name\na.png," + ",".join(str(v) for v in points.reshape(-1)) + "\n")
    (line,) = label("--keypoints", str(table)).read_text().splitlines()
    record = json.loads(line)
    assert record["file"] == "a.png"
    assert record["faces"][0]["landmarks"] == [[20, 12], [20, 12], [33, 31], [27, 45], [39, 45]]


def animals(box, eye):
    names = ["left_eye", "right_eye", "nose", "left_ear"]
    points = [[*eye, 1], [0, 0, 0], [0, 0, 0], [1, 1, 1]]
    return {
        "images": {"7": "a.png"},
        "annotations": [{"image_id": 7, "bbox": box, "keypoints": points, "category_id": 1}],
        "categories": [{"name": "cat", "keypoints": names}],
    }


@pytest.mark.parametrize(
    ("box", "eye", "faces", "ignored"),
    [
        # on its head
        ([0, 0, 64, 64], (30, 30), 0, 0),
        # over its body: nobody knows
        ([0, 0, 64, 64], (2, 2), 0, 1),
        # beside it, though its ear reaches in
        ([0, 0, 20, 20], (18, 18), 1, 0),
    ],
)
def test_an_animals_head_is_background(tmp_path, label, peers, box, eye, faces, ignored):
    labels = tmp_path / "keypoints.json"
    labels.write_text(json.dumps(animals(box, eye)))
    first, second = (json.loads(line) for line in label("--animals", str(labels)).read_text().splitlines())
    assert (len(first["faces"]), len(first["ignored"])) == (faces, ignored)
    assert (len(second["faces"]), len(second["ignored"])) == (1, 0), "no animal is known there"


def test_labels_of_animals_in_another_layout_say_what_was_expected(tmp_path):
    labels = tmp_path / "keypoints.json"
    labels.write_text('{"images": []}')
    with pytest.raises(LabelError, match="AnimalPose"):
        read_animals(labels)


def test_animals_taken_for_people_are_counted(tmp_path, photos, peers, capsys):
    labels = tmp_path / "keypoints.json"
    model = str(peers.make("yunet"))
    for eye, alarms in (((30, 30), 1), ((2, 2), 0)):
        labels.write_text(json.dumps(animals([0, 0, 64, 64], eye)))
        count_animals([str(photos), "--animals", str(labels), "--model", model, "--size", "64"])
        assert f"{alarms} of 1 animals taken for people, 1 photos" in capsys.readouterr().out


@pytest.mark.parametrize(("option", "known"), [("--heads", "heads"), ("--voc", "boxes")])
def test_labels_that_tell_of_no_photo_are_refused_before_any_is_looked_at(
    tmp_path, label, capsys, option, known
):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit):
        label(option, *([str(tmp_path / "empty")] if option == "--voc" else []))
    assert f"photos of which {known} are known, got 3 others" in capsys.readouterr().err
    assert not (tmp_path / "labels.jsonl").exists()


@pytest.mark.parametrize(
    ("option", "expected"), [("--animals", "AnimalPose"), ("--poses", "Leeds Sports Pose Extended")]
)
def test_labels_that_cannot_be_read_are_refused_before_any_photo_is_looked_at(
    tmp_path, label, capsys, option, expected
):
    (tmp_path / "broken").write_bytes(b"nothing of the kind")
    with pytest.raises(SystemExit):
        label(option, str(tmp_path / "broken"))
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "labels.jsonl").exists()


def test_a_folder_without_photos_is_refused(tmp_path, label, photos, capsys):
    for path in photos.rglob("*.*"):
        path.unlink()
    with pytest.raises(SystemExit):
        label()
    assert "found none" in capsys.readouterr().err


def test_one_detector_is_not_enough(label, capsys):
    with pytest.raises(SystemExit):
        label(kinds=("scrfd",))
    assert "cannot agree with itself" in capsys.readouterr().err


@pytest.fixture
def crowd(tmp_path):
    """Lay photos and heads out as ShanghaiTech has them."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "ground-truth").mkdir()

    def make(heads):
        cv2.imwrite(str(tmp_path / "photos" / "IMG_1.png"), np.zeros((64, 64, 3), np.uint8))
        info = np.empty((1, 1), object)
        info[0, 0] = {"location": np.array(heads, float), "number": len(heads)}
        path = tmp_path / "ground-truth" / "GT_IMG_1.mat"
        savemat(path, {"image_info": info})
        return path

    return make


def test_heads_are_read_by_pixels(crowd):
    assert read_heads(crowd([[3, 4], [50.5, 60]])).tolist() == [[3, 4], [50.5, 60]]


def test_heads_without_a_face_are_ignored(crowd, tmp_path, peers):
    crowd([(np.array(peers.box[:2]) + peers.box[2:]) / 2, [4, 60]])
    detectors = [part for kind in ("scrfd", "yunet") for part in ("--detector", str(peers.make(kind)))]
    output = tmp_path / "labels.jsonl"
    # of this one nobody knows the heads
    cv2.imwrite(str(tmp_path / "photos" / "IMG_2.png"), np.zeros((64, 64, 3), np.uint8))
    main([str(tmp_path / "photos"), *detectors, "--size", "64", "--heads", "--output", str(output)])
    (record,) = map(json.loads, output.read_text().splitlines())
    assert len(record["faces"]) == 1
    (region,) = record["ignored"]
    assert (region[0] + region[2]) / 2 == 4
    assert (region[1] + region[3]) / 2 == 60


@pytest.fixture
def poses(tmp_path):
    """Write joints as Leeds Sports Pose Extended has them: neck and crown of each photo, and if marked."""

    def make(*heads):
        joints = np.full((14, 3, len(heads)), -1.0)
        for number, (neck, crown, *marked) in enumerate(heads):
            joints[12, :, number] = *neck, 1
            joints[13, :, number] = *crown, *(marked or [1])
        savemat(tmp_path / "joints.mat", {"joints": joints})
        return tmp_path / "joints.mat"

    return make


def test_a_pose_tells_where_the_head_is(poses):
    heads = read_pose_heads(poses(((30, 50), (30, 40)), ((9, 9), (8, 8), 0), ((10, 20), (20, 20))))
    assert {name: head.tolist() for name, head in heads.items()} == {
        "im00001.jpg": [24, 39, 36, 51],
        "im00003.jpg": [9, 14, 21, 26],
    }


def test_a_head_at_sport_without_a_face_is_ignored(poses, tmp_path, peers):
    middle = (np.array(peers.box[:2]) + peers.box[2:]) / 2
    up = np.array([0, -5])
    joints = poses((middle - up, middle + up), ((4, 63), (4, 57)), ((9, 9), (8, 8), 0))
    (tmp_path / "photos").mkdir()
    for number in (1, 2, 3):
        cv2.imwrite(str(tmp_path / "photos" / f"im{number:05d}.jpg"), np.zeros((64, 64, 3), np.uint8))
    detectors = [part for kind in ("scrfd", "yunet") for part in ("--detector", str(peers.make(kind)))]
    output = tmp_path / "labels.jsonl"
    arguments = ["--size", "64", "--poses", str(joints), "--output", str(output)]
    main([str(tmp_path / "photos"), *detectors, *arguments])
    # the third's head nobody marked
    first, second = map(json.loads, output.read_text().splitlines())
    assert len(first["faces"]) == len(second["faces"]) == 1
    assert first["ignored"] == []
    (region,) = second["ignored"]
    assert (region[0] + region[2]) / 2 == pytest.approx(4)
    assert (region[1] + region[3]) / 2 == pytest.approx(60)


@pytest.mark.parametrize(
    ("read", "expected"), [(read_heads, "ShanghaiTech"), (read_pose_heads, "Leeds Sports Pose Extended")]
)
def test_heads_of_another_layout_say_what_was_expected(tmp_path, read, expected):
    for content in (None, b"no mat"):
        if content:
            (tmp_path / "a.mat").write_bytes(content)
        with pytest.raises(LabelError, match=expected):
            read(tmp_path / "a.mat")
    # MATLAB's, but with other variables, or flat ones
    for variables in ({"other": np.zeros(3)}, {"joints": np.zeros((14, 3)), "image_info": np.zeros((1, 1))}):
        savemat(tmp_path / "a.mat", variables)
        with pytest.raises(LabelError, match=expected):
            read(tmp_path / "a.mat")


@given(st.lists(st.tuples(st.floats(0, 900), st.floats(0, 900)), min_size=1, max_size=12))
def test_heads_take_more_room_where_they_stand_apart(rows):
    heads = np.array(rows)
    near, far = around(heads), around(heads * 2)
    for boxes, points in ((near, heads), (far, heads * 2)):
        np.testing.assert_allclose((boxes[:, :2] + boxes[:, 2:]) / 2, points, atol=1e-6)
        sides = boxes[:, 2:] - boxes[:, :2]
        assert (sides >= 8 - 1e-6).all()
        assert (sides <= 60 + 1e-6).all()
    assert (far[:, 2] - far[:, 0] >= near[:, 2] - near[:, 0] - 1e-6).all()


def test_what_the_detectors_must_be_sure_of_can_be_said(label):
    lax, strict = (
        [json.loads(line) for line in label("--accept", accept).read_text().splitlines()]
        for accept in ("0.3", "1")
    )
    assert [len(record["faces"]) for record in lax] == [1, 1]
    assert [len(record["faces"]) for record in strict] == [0, 0]
    assert all(record["ignored"] for record in strict)


def painting(seed):
    """Return something with as many large and small parts as a photo has, (480, 640, 3)."""
    rng = np.random.default_rng(seed)
    layers = [rng.uniform(0, 255, (3 * 2**level, 4 * 2**level, 3)) / (level + 1) for level in range(5)]
    whole = sum(cv2.resize(layer, (640, 480), interpolation=cv2.INTER_CUBIC) for layer in layers)
    return np.clip(whole / 2.3, 0, 255).astype(np.uint8)


def copies(pixels):
    small = cv2.resize(pixels, (224, 224), interpolation=cv2.INTER_AREA)
    _, squeezed = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 20])
    yield from (small, cv2.imdecode(squeezed, cv2.IMREAD_COLOR), pixels[:, ::-1], pixels // 2 + 90)
    yield cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)


def test_a_photo_is_known_again_in_other_sizes_colours_and_in_a_mirror(tmp_path):
    for seed in range(20):
        cv2.imwrite(str(tmp_path / f"{seed}.png"), painting(seed))
    gallery = Gallery(sorted(tmp_path.glob("*.png")))
    for seed in range(20):
        assert all(gallery.resembles(copy) for copy in copies(painting(seed)))
    assert not any(gallery.resembles(painting(seed)) for seed in range(100, 160))


def test_a_difference_hash_has_a_bit_where_it_gets_brighter():
    ramp = np.repeat(np.arange(90, dtype=np.uint8)[None, :, None], 80, 0).repeat(3, 2)
    assert difference_hash(ramp).tolist() == [255] * 8
    assert difference_hash(ramp[:, ::-1]).tolist() == [0] * 8


def test_photos_that_look_like_those_that_measure_are_left_out(tmp_path, label, photos, capsys):
    measured = tmp_path / "val"
    measured.mkdir()
    cv2.imwrite(str(photos / "seen.png"), painting(1))
    cv2.imwrite(str(photos / "other.png"), painting(2))
    cv2.imwrite(str(measured / "copy.jpg"), cv2.resize(painting(1), (1024, 768)))
    output = label("--unlike", str(measured))
    names = [photo.name for _, photo in read_annotations(output, photos)]
    assert "other.png" in names
    assert "seen.png" not in names


def test_a_folder_of_photos_that_measure_may_not_be_empty(tmp_path, label, capsys):
    (tmp_path / "val").mkdir()
    with pytest.raises(SystemExit):
        label("--unlike", str(tmp_path / "val"))
    assert "found none" in capsys.readouterr().err
