import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from featherface import BoundingBox, Detections, Face, Landmarks, Point
from featherface_batch.errors import MissingPhotoError, UsageError
from featherface_batch.records import Outcome, Photo
from featherface_batch.sinks import parse_formats, write_all
from featherface_batch.storage import LocalStorage


def face(left: float, top: float, width: float, height: float, confidence: float) -> Face:
    points = (Point(left + width * x, top + height * y) for x, y in [(0.3, 0.4), (0.7, 0.4), (0.5, 0.6)])
    mouth = (Point(left + width * 0.35, top + height * 0.8), Point(left + width * 0.65, top + height * 0.8))
    return Face(confidence, BoundingBox(left, top, width, height), Landmarks(*points, *mouth))


TWO_FACES = Detections(640, 480, (face(10.5, 20, 100, 120, 0.9), face(300, 200, 50.25, 60, 0.6)))
NO_FACE = Detections(100, 50)
OUTCOMES = [
    Outcome.success(Photo("people/two.jpg", "/p/people/two.jpg"), TWO_FACES),
    Outcome.failure(Photo("gone.jpg", "/p/gone.jpg"), MissingPhotoError("it is gone")),
    Outcome.success(Photo("ünï code.png", "/p/ünï code.png"), NO_FACE),
]


def written(tmp_path: Path, formats: Sequence[str], outcomes: Sequence[Outcome] = OUTCOMES) -> Path:
    write_all(outcomes, formats, LocalStorage(tmp_path))
    return tmp_path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_json_lines_hold_what_the_api_answers(tmp_path: Path) -> None:
    rows = lines(written(tmp_path, ["jsonl"]) / "annotations.jsonl")
    assert [row["key"] for row in rows] == ["people/two.jpg", "ünï code.png"]
    for row, detections in zip(rows, (TWO_FACES, NO_FACE), strict=True):
        assert {name: row[name] for name in detections.to_dict()} == detections.to_dict()
        assert Detections.from_dict(row).to_dict() == detections.to_dict()


def test_errors_are_written_whatever_the_format(tmp_path: Path) -> None:
    (row,) = lines(written(tmp_path, ["coco"]) / "errors.jsonl")
    assert row == {
        "key": "gone.jpg",
        "location": "/p/gone.jpg",
        "error": {"code": "missing", "message": "it is gone"},
    }


def test_coco_links_boxes_to_images(tmp_path: Path) -> None:
    coco = json.loads((written(tmp_path, ["coco"]) / "coco.json").read_text(encoding="utf-8"))
    assert [image["file_name"] for image in coco["images"]] == ["people/two.jpg", "ünï code.png"]
    assert coco["images"][0] == {"id": 1, "file_name": "people/two.jpg", "width": 640, "height": 480}
    assert [box["image_id"] for box in coco["annotations"]] == [1, 1]
    assert [box["id"] for box in coco["annotations"]] == [1, 2]
    assert coco["annotations"][1]["bbox"] == [300, 200, 50.25, 60]
    assert coco["annotations"][1]["area"] == 3015
    assert coco["annotations"][0]["score"] == 0.9
    assert len(coco["annotations"][0]["keypoints"]) == 15
    assert coco["categories"][0]["keypoints"] == list(TWO_FACES.to_dict()["faces"][0]["landmarks"])


def test_coco_of_nothing_is_still_coco(tmp_path: Path) -> None:
    coco = json.loads((written(tmp_path, ["coco"], [OUTCOMES[1]]) / "coco.json").read_text())
    assert (coco["images"], coco["annotations"]) == ([], [])


def test_nothing_appears_when_writing_fails_half_way(tmp_path: Path) -> None:
    def broken() -> Any:
        yield OUTCOMES[0]
        raise RuntimeError("the disk is on fire")

    with pytest.raises(RuntimeError, match="on fire"):
        write_all(broken(), ["jsonl", "coco"], LocalStorage(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_formats_are_read_with_commas() -> None:
    assert parse_formats("jsonl, COCO,jsonl") == ("jsonl", "coco")


@pytest.mark.parametrize("text", ["", "xlsx", "jsonl,xlsx", ","])
def test_an_unknown_format_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--format takes"):
        parse_formats(text)
