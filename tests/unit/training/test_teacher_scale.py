import cv2
import numpy as np
import pytest

pytest.importorskip("torch")

from featherface_training.evaluation.reliability import Judged
from featherface_training.teachers import TeacherError
from featherface_training.teachers.scale import main, odds, scale


def drawn(slope, shift, count=40_000, seed=5):
    """Boxes whose log odds of being right are `slope` logit + `shift`."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, count)
    right = rng.random(count) < 1 / (1 + np.exp(-slope * logits - shift))
    return Judged(1 / (1 + np.exp(-logits)), right)


@pytest.mark.parametrize(("slope", "shift"), [(1.0, 0.0), (2.0, -0.7), (0.5, 1.6)])
def test_the_odds_that_scores_were_drawn_with_are_found(slope, shift):
    assert odds(drawn(slope, shift)) == pytest.approx((slope, shift), abs=0.1)


def test_a_moved_logit_has_the_odds_it_had():
    slope, shift = scale(odds(drawn(3.0, 1.6)), odds(drawn(2.0, -0.7, seed=6)))
    for logit in (-2.0, 0.0, 1.0):
        assert 2.0 * (slope * logit + shift) - 0.7 == pytest.approx(3.0 * logit + 1.6, abs=0.4)


def test_scores_of_zero_and_one_are_no_infinite_logits():
    judged = drawn(1.0, 0.0)
    judged.confidence[:2] = 0.0, 1.0
    assert np.isfinite(odds(judged)).all()


@pytest.mark.parametrize("right", [[True] * 60, [False] * 60, [True, False] * 10, []])
def test_what_cannot_be_fitted_says_what_is_missing(right):
    with pytest.raises(
        TeacherError, match=rf"got {len(right)}, {sum(right)} of them right: take more photos"
    ):
        odds(Judged(np.full(len(right), 0.5), np.array(right, bool)))


@pytest.fixture
def command(peers, tmp_path):
    """Photos in every other of which both detectors' face is a labelled one."""

    def run(count, *extra, broken=(), other="centerface"):
        folder = tmp_path / "WIDER_train" / "images" / "0--Black"
        folder.mkdir(parents=True)
        left, top, right, bottom = peers.box.astype(int)
        lines = []
        for i in range(count):
            cv2.imwrite(str(folder / f"{i}.png"), np.zeros((64, 64, 3), np.uint8))
            face = f"{left} {top} {right - left} {bottom - top}" if i % 2 else "1 1 9 9"
            lines += [f"# 0--Black/{i}.png", f"{face} {' '.join(['-1'] * 16)}"]
        labels = tmp_path / "label.txt"
        labels.write_text("\n".join(lines) + "\n")
        photos = ["--wider", str(tmp_path), "--labels", str(labels), "--size", "64", "--enlarge", "1"]
        models = ["--yunet", str(peers.make("yunet")), "--other", str(peers.make(other))]
        for i in broken:
            (folder / f"{i}.png").write_bytes(b"no photo")
        return main([*photos, *models, *extra])

    return run


@pytest.mark.parametrize("other", ["centerface", "retinaface"])
def test_who_is_as_often_right_with_the_same_score_needs_no_other(command, capsys, other):
    assert command(60, other=other) == 0
    printed = capsys.readouterr().out
    assert "YuNet: 60 boxes, 30 of them faces" in printed
    assert f"{other}: 60 boxes, 30 of them faces" in printed
    assert f"60 photos: {other}'s logit x is worth 1.00 x +0.00 of YuNet's" in printed


def test_too_few_photos_say_so(command, capsys):
    with pytest.raises(SystemExit):
        command(8)
    assert "take more photos" in capsys.readouterr().err


def test_a_photo_that_cannot_be_read_is_named(command, capsys):
    with pytest.raises(SystemExit):
        command(60, broken=[7])
    assert "7.png is not a photo" in capsys.readouterr().err


def test_no_photos_are_no_sample(command, capsys):
    with pytest.raises(SystemExit):
        command(60, "--photos", "0")
    assert "expected at least 1" in capsys.readouterr().err
