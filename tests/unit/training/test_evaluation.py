"""The protocol against a slow restatement, one threshold and one detection at a time."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featherface_training.evaluation import PhotoTruth, evaluate
from featherface_training.evaluation.errors import EvaluationError
from featherface_training.evaluation.events import by_event, of_events, trained_events


def overlap(a, b):
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0]) + 1
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1]) + 1
    shared = max(width, 0) * max(height, 0)
    return shared / ((a[2] + 1) * (a[3] + 1) + (b[2] + 1) * (b[3] + 1) - shared)


def slow_average_precision(predictions, truth, difficulty):
    scores = [row[4] for rows in predictions.values() for row in rows]
    low, high = min(scores), max(scores)
    points = []
    faces = sum(int(truth[name].counted[difficulty].sum()) for name in predictions)
    for step in range(1, 1001):
        threshold = 1 - step / 1000
        proposals = right = 0
        for name, rows in predictions.items():
            found = set()
            for row in sorted(rows.tolist(), key=lambda r: -r[4]):
                if (row[4] - low) / (high - low) < threshold or not len(truth[name].boxes):
                    continue
                overlaps = [overlap(row[:4], box) for box in truth[name].boxes.tolist()]
                best = int(np.argmax(overlaps))
                counted = truth[name].counted[difficulty][best]
                if overlaps[best] >= 0.5 and not counted:
                    continue
                proposals += 1
                if overlaps[best] >= 0.5 and best not in found:
                    found.add(best)
                    right += 1
        points.append((right / max(faces, 1), right / proposals if proposals else 0.0))
    area, previous = 0.0, 0.0
    for i, (recall, _) in enumerate(points):
        area += (recall - previous) * max(p for _, p in points[i:])
        previous = recall
    return area


def scene(seed):
    rng = np.random.default_rng(seed)
    truth, predictions = {}, {}
    for i in range(4):
        boxes = np.concatenate([rng.uniform(0, 80, (5, 2)), rng.uniform(8, 40, (5, 2))], 1)[: 5 - i]
        counted = {d: rng.random(len(boxes)) < p for d, p in (("easy", 0.4), ("medium", 0.7), ("hard", 1.0))}
        truth[f"e/{i}"] = PhotoTruth(boxes, counted)
        guesses = np.concatenate([boxes + rng.normal(0, 3, boxes.shape), boxes * rng.uniform(0.3, 1.8)])
        predictions[f"e/{i}"] = np.concatenate([guesses, rng.random((len(guesses), 1))], 1)
    return predictions, truth


@settings(max_examples=8)
@given(st.integers(0, 10_000))
def test_the_protocol_equals_a_slow_restatement(seed):
    predictions, truth = scene(seed)
    result = evaluate(predictions, truth)
    for difficulty in ("easy", "medium", "hard"):
        expected = slow_average_precision(predictions, truth, difficulty)
        assert result[difficulty].average_precision == pytest.approx(expected, abs=1e-9)


def test_perfect_detections_score_one_and_none_score_zero():
    _, truth = scene(1)
    perfect = {
        name: np.concatenate([photo.boxes, np.linspace(1, 0.5, len(photo.boxes))[:, None]], 1)
        for name, photo in truth.items()
    }
    assert evaluate(perfect, truth)["hard"].average_precision == pytest.approx(1)
    nothing = {name: np.zeros((0, 5)) for name in truth}
    assert evaluate(nothing, truth)["hard"].average_precision == 0


def test_a_part_of_the_photos_counts_its_own_faces():
    predictions, truth = scene(2)
    part = {"e/0": predictions["e/0"]}
    assert evaluate(part, truth)["hard"].faces == len(truth["e/0"].boxes)


def test_photos_outside_the_ground_truth_are_refused():
    predictions, truth = scene(2)
    with pytest.raises(EvaluationError, match="got 'x/y'"):
        evaluate({"x/y": predictions["e/0"]}, truth)
    with pytest.raises(EvaluationError, match="no photos"):
        evaluate({}, truth)


def test_photos_are_chosen_by_their_events():
    photos = {
        name: Path(name) for name in ("0--Parade/a", "0--Parade/b", "10--People_Marching/c", "1--Hands/d")
    }
    assert list(of_events(photos, ["0--Parade", "1--Hands"])) == ["0--Parade/a", "0--Parade/b", "1--Hands/d"]
    assert list(of_events(photos, ["0--Parade"], others=True)) == ["10--People_Marching/c", "1--Hands/d"]
    with pytest.raises(EvaluationError, match="got '1--'"):
        of_events(photos, ["1--"])


def test_each_event_is_evaluated_by_itself(tmp_path):
    predictions, truth = scene(3)
    events = {"2--B": ["e/0", "e/1"], "10--A": ["e/2"]}
    renamed = {name: f"{event}/{name[2:]}" for event, names in events.items() for name in names}
    found = {new: predictions[old] for old, new in renamed.items()}
    result = by_event(found, {new: truth[old] for old, new in renamed.items()})
    assert list(result) == ["2--B", "10--A"]
    for event, names in events.items():
        alone = evaluate({name: predictions[name] for name in names}, truth)
        assert result[event]["hard"].average_precision == alone["hard"].average_precision
        assert result[event]["hard"].faces == alone["hard"].faces


def test_events_of_training_are_those_with_photos(tmp_path):
    for name in ("0--Parade/a.jpg", "1--Hands/b.jpg"):
        path = tmp_path / "WIDER_train" / "images" / name
        path.parent.mkdir(parents=True)
        path.touch()
    (tmp_path / "WIDER_train" / "images" / "2--Empty").mkdir()
    assert trained_events(tmp_path) == {"0--Parade", "1--Hands"}
    assert trained_events(tmp_path / "nowhere") == set()
