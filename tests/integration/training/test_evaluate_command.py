import json

import pytest

from featherface.cli import main
from featherface_training.evaluation import read_ground_truth
from featherface_training.evaluation.errors import EvaluationError


def test_the_ground_truth_reads_boxes_and_which_of_them_count(wider_val):
    truth = read_ground_truth(wider_val[1])
    assert set(truth) == {f"0--Portraits/{n}" for n in ("grace_hopper", "rocket", "not_there")}
    hopper = truth["0--Portraits/grace_hopper"]
    assert hopper.boxes.tolist() == [[168, 95, 167, 226], [0, 0, 9, 9]]
    assert hopper.counted["easy"].tolist() == [True, False]
    assert len(truth["0--Portraits/rocket"].boxes) == 0


@pytest.mark.parametrize("size", ["320", "original"])
def test_evaluating_the_published_models_on_a_partial_root(wider_val, capsys, size):
    root, truth = wider_val
    code = main(["evaluate", "--wider", str(root), "--ground-truth", str(truth), "--size", size, "--json"])
    rows = json.loads(capsys.readouterr().out)
    assert code == 0
    assert [row["model"] for row in rows] == ["v1", "nano"]
    for row in rows:
        assert row["photos"] == 2
        assert row["faces"] == {"easy": 1, "medium": 1, "hard": 1}
        assert 0 <= row["hard"] <= 1


def test_a_portrait_is_found_at_a_square_input_too(wider_val, capsys):
    root, truth = wider_val
    arguments = ["evaluate", "--wider", str(root), "--ground-truth", str(truth), "--model", "nano"]
    assert main([*arguments, "--size", "640", "--square"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.split()[:2] == ["nano", "1.0000"]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--model", "v3"], "expected 'v1', 'nano' or the path of a model, got 'v3'"),
        (["--size", "original", "--square"], "--square needs a --size in pixels"),
        (["--event", "0--Cats"], "got '0--Cats'; there are 0--Portraits"),
        (["--without-event", "0--Portraits"], "every photo shows one of the events that were to be left out"),
    ],
)
def test_mistakes_end_with_a_sentence(wider_val, capsys, extra, message):
    root, truth = wider_val
    assert main(["evaluate", "--wider", str(root), "--ground-truth", str(truth), *extra]) == 2
    assert message in capsys.readouterr().err


def test_missing_photos_and_files_are_named(wider_val, tmp_path, capsys):
    root, truth = wider_val
    assert main(["evaluate", "--wider", str(tmp_path), "--ground-truth", str(truth)]) == 2
    assert "WIDER_val/images, found none" in capsys.readouterr().err
    with pytest.raises(EvaluationError, match=r"wider_face_val\.mat: the ground truth is part of"):
        read_ground_truth(root)


@pytest.mark.parametrize("size", ["0", "-640", "31", "large"])
def test_a_size_that_is_none_is_refused(tmp_path, capsys, size):
    with pytest.raises(SystemExit, match="2"):
        main(["evaluate", "--wider", str(tmp_path), "--ground-truth", str(tmp_path), "--size", size])
    assert f"expected at least 32 pixels or 'original', got '{size}'" in capsys.readouterr().err
