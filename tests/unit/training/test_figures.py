import json

import cv2
import numpy as np
import pytest

pytest.importorskip("matplotlib")

from featherface_training.evaluation import DIFFICULTIES, PhotoTruth, evaluate
from featherface_training.evaluation.heights import recall_by_height
from featherface_training.figures import (
    draw_events,
    draw_learning,
    draw_mistakes,
    draw_precision_recall,
)

FACES = np.array([[10.0, 10, 30, 30], [60, 60, 20, 20]])
TRUTH = {"a": PhotoTruth(FACES, {level: np.array([True, True]) for level in ("easy", "medium", "hard")})}
# the first face, then something in a corner
FOUND = {"a": np.array([[11.0, 10, 30, 30, 0.9], [90, 5, 9, 9, 0.8]])}


def opened(path):
    image = cv2.imread(str(path))
    assert image is not None
    return image


def test_learning_curves_of_runs_with_unlike_losses(tmp_path):
    for name, extra in (("one", {}), ("two", {"distillation": 2.0})):
        (tmp_path / name).mkdir()
        lines = [
            json.dumps({"step": s, "classification": 3 / s, "box": 1.0, "landmark": 2.0} | extra)
            for s in (1, 2)
        ]
        (tmp_path / name / "log.jsonl").write_text("\n".join(lines))
    draw_learning({name: tmp_path / name for name in ("one", "two")}, tmp_path / "out" / "learning.png")
    assert opened(tmp_path / "out" / "learning.png").std() > 5
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["learning.png"]


def test_a_run_without_an_epoch_says_so(tmp_path):
    (tmp_path / "log.jsonl").write_text("")
    with pytest.raises(ValueError, match="no run has logged an epoch"):
        draw_learning({"new": tmp_path}, tmp_path / "out.png")


def test_precision_recall_is_drawn(tmp_path):
    draw_precision_recall({"ours": evaluate(FOUND, TRUTH)}, tmp_path / "curves.png", "one photo")
    assert opened(tmp_path / "curves.png").std() > 5


def test_events_are_drawn_a_row_each_but_for_those_without_faces(tmp_path):
    some, none = (
        evaluate(FOUND, TRUTH),
        evaluate(FOUND, {"a": PhotoTruth(FACES[:0], {d: np.zeros(0, bool) for d in DIFFICULTIES})}),
    )
    sizes = []
    for count in (1, 9):
        events = {f"{number}--Event": some for number in range(count)} | {"99--Nobody": none}
        draw_events({"ours": events, "peer": events}, ["0--Event"], tmp_path / "events.png", "few photos")
        sizes.append(opened(tmp_path / "events.png").shape[0])
    assert sizes[1] - sizes[0] == pytest.approx(8 * 19, abs=2)


def test_the_sheet_shows_the_miss_and_the_false_alarm_and_not_the_hit(tmp_path):
    photo = np.zeros((100, 120, 3), np.uint8)
    photo[60:80, 60:80] = (0, 0, 250)
    photo[5:14, 90:99] = (250, 0, 0)
    photo[10:40, 10:40] = (0, 250, 0)
    cv2.imwrite(str(tmp_path / "a.png"), photo)
    draw_mistakes(FOUND, TRUTH, {"a": tmp_path / "a.png"}, tmp_path / "sheet.jpg", columns=2, rows=1)
    sheet = opened(tmp_path / "sheet.jpg")
    assert sheet.shape == (300, 300, 3)
    middle = [sheet[75, 75], sheet[75, 225], sheet[225, 75], sheet[225, 225]]
    # misses: the red face, then the green one, found at 0.9; false alarms: the blue corner, then nothing
    assert [int(colour.argmax()) for colour in middle[:3]] == [2, 1, 0]
    assert middle[3].max() == 0


def test_recall_is_counted_by_height_at_the_networks_input():
    table = recall_by_height(FOUND, TRUTH, {"a": 0.5}, alarms_per_face=0.5)
    # heights 15 and 10 of the input; the first is found, and one false alarm to two faces is allowed
    assert table[12, 16] == (1, 1.0)
    assert table[10, 12] == (1, 0.0)
    assert sum(faces for faces, _ in table.values()) == 2
    drowned = {"a": np.array([[11.0, 10, 30, 30, 0.9], [90, 5, 9, 9, 0.95]])}
    assert recall_by_height(drowned, TRUTH, {"a": 0.5})[12, 16] == (1, 0.0)
