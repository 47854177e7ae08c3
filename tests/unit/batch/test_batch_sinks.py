import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import duckdb
import numpy as np
import pandas as pd
import pytest
import supervision as sv
from PIL import Image

from featherface import BoundingBox, Detections, Face, Landmarks, Point, UnsupportedFormatError
from featherface_batch.errors import MissingPhotoError, ReconciliationError, UsageError
from featherface_batch.naming import LABEL_SUFFIXES, digests, find_clashes
from featherface_batch.records import Outcome, Photo, Tally
from featherface_batch.sections import Section
from featherface_batch.sinks import FORMATS, finish, parse_formats, write_section
from featherface_batch.sinks.files import FilePerPhotoSink
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
    return write_run(tmp_path, formats, outcomes, [len(outcomes)])


def write_run(folder: Path, formats: Sequence[str], outcomes: Sequence[Outcome], cuts: Sequence[int]) -> Path:
    """Write outcomes as a run of sections that end where they are cut."""
    storage = LocalStorage(folder)
    stretches = [list(outcomes[start:end]) for start, end in pairwise([0, *cuts])]
    found = [digests(outcome.photo.key for outcome in stretch) for stretch in stretches]
    before = Tally()
    for number, (stretch, names) in enumerate(zip(stretches, find_clashes(found), strict=True)):
        tally = Tally.of(stretch)
        write_section(stretch, formats, storage, Section(number, (), before, tally, names))
        before += tally
    finish(formats, storage, len(stretches))
    return folder


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


def images(folder: Path) -> Path:
    """Blank photos of the sizes that the outcomes name, flat in a folder, for readers that open them."""
    folder.mkdir()
    for name, detections in (("two.jpg", TWO_FACES), ("none.png", NO_FACE)):
        Image.new("RGB", (detections.width, detections.height)).save(folder / name)
    return folder


FLAT = [
    Outcome.success(Photo("none.png", "/p/none.png"), NO_FACE),
    Outcome.success(Photo("two.jpg", "/p/two.jpg"), TWO_FACES),
]
BOXES = [[10.5, 20, 110.5, 140], [300, 200, 350.25, 260]]


def loaded(dataset: sv.DetectionDataset) -> dict[str, sv.Detections]:
    assert dataset.classes == ["face"]
    return {Path(path).name: found for path, _, found in dataset}


def test_supervision_loads_coco(tmp_path: Path) -> None:
    output = written(tmp_path / "out", ["coco"], FLAT)
    found = loaded(sv.DetectionDataset.from_coco(str(images(tmp_path / "images")), str(output / "coco.json")))
    assert found["two.jpg"].xyxy == pytest.approx(np.array(BOXES))
    assert len(found["none.png"]) == 0


def test_supervision_loads_yolo(tmp_path: Path) -> None:
    output = written(tmp_path / "out", ["yolo"], FLAT)
    found = loaded(
        sv.DetectionDataset.from_yolo(
            str(images(tmp_path / "images")), str(output / "yolo/labels"), str(output / "yolo/data.yaml")
        )
    )
    assert found["two.jpg"].xyxy == pytest.approx(np.array(BOXES), abs=0.01)
    assert len(found["none.png"]) == 0


def test_supervision_loads_voc(tmp_path: Path) -> None:
    output = written(tmp_path / "out", ["voc"], FLAT[1:])
    folder = images(tmp_path / "images")
    found = loaded(sv.DetectionDataset.from_pascal_voc(str(folder), str(output / "voc/Annotations")))
    assert found["two.jpg"].xyxy == pytest.approx(np.array(BOXES), abs=1.5)


@pytest.mark.parametrize(
    ("key", "location", "folder"),
    [
        ("a.jpg", "/data/photos/a.jpg", "photos"),
        ("a.jpg", "s3://bucket/a.jpg", "bucket"),
        ("a.jpg", "s3://bucket/day one/a.jpg", "day one"),
        ("a.jpg", "file:///data/photos/a.jpg", "photos"),
        ("day/a.jpg", "/data/photos/day/a.jpg", "day"),
    ],
)
def test_voc_names_the_folder_of_each_photo(key: str, location: str, folder: str, tmp_path: Path) -> None:
    outcome = Outcome.success(Photo(key, location), Detections(10, 10))
    output = written(tmp_path / "out", ["voc"], [outcome])
    (file,) = (output / "voc/Annotations").rglob("*.xml")
    assert ElementTree.parse(file).findtext("folder") == folder


def test_a_file_per_photo_keeps_folders_and_tells_twins_apart(tmp_path: Path) -> None:
    keys = ["a/x.jpg", "a/x.png", "a/x.y.jpg", "b/x.jpg", "../../etc/passwd", "/absolute.jpg"]
    outcomes = [Outcome.success(Photo(key, key), NO_FACE) for key in keys]
    output = written(tmp_path / "deep" / "out", ["yolo"], outcomes)
    labels = output / "yolo/labels"
    assert sorted(path.relative_to(labels).as_posix() for path in labels.rglob("*.txt")) == [
        "a/x.png.txt",
        "a/x.txt",
        "a/x.y.txt",
        "absolute.txt",
        "b/x.txt",
        "etc/passwd.txt",
    ]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]


@pytest.mark.parametrize("cuts", [[5], [1, 2, 3, 4, 5]])
def test_a_folder_named_like_a_file_of_another_photo_keeps_its_name(tmp_path: Path, cuts: list[int]) -> None:
    keys = ["a.jpg", "a.txt/b.jpg", "c.jpg", "c.jpg.txt/d.txt/e.jpg", "c.txt/f.jpg"]
    outcomes = [Outcome.success(Photo(key, key), NO_FACE) for key in keys]
    labels = write_run(tmp_path, ["yolo"], outcomes, cuts) / "yolo/labels"
    names = sorted(path.relative_to(labels).as_posix() for path in labels.rglob("*.txt") if path.is_file())
    unique = next(name for name in names if name.startswith("c.jpg.") and "/" not in name)
    assert len(unique) == len("c.jpg..txt") + 12
    assert names == sorted(["a.jpg.txt", "a.txt/b.txt", unique, "c.jpg.txt/d.txt/e.txt", "c.txt/f.txt"])


@pytest.mark.parametrize("cuts", [[5], [1, 2, 3, 4, 5]])
def test_a_jpeg_does_not_lose_its_name_to_what_it_was_made_of(tmp_path: Path, cuts: list[int]) -> None:
    raw = UnsupportedFormatError("this is TIFF")
    outcomes = [
        Outcome.failure(Photo("a.CR2", "a"), raw),
        Outcome.success(Photo("a.jpg", "b"), NO_FACE),
        Outcome.success(Photo("a.png", "c"), NO_FACE),
        Outcome.success(Photo("b.dng", "d"), NO_FACE),
        Outcome.failure(Photo("b.nef", "e"), raw),
    ]
    labels = write_run(tmp_path, ["yolo"], outcomes, cuts) / "yolo/labels"
    assert sorted(path.name for path in labels.iterdir()) == ["a.png.txt", "a.txt", "b.txt"]


def test_folders_are_looked_at_for_the_suffixes_of_all_formats() -> None:
    sinks = {sink for sink in FilePerPhotoSink.__subclasses__() if sink.__module__.startswith("featherface")}
    assert {sink.suffix for sink in sinks} == set(LABEL_SUFFIXES)


def test_names_that_no_file_and_no_xml_can_have_are_written_as_others(tmp_path: Path) -> None:
    long = "é" * 300
    keys = [f"{long}1/{long}.jpg", f"{long}2/{long}.jpg", "a\x01\x0b\uffff&<.jpg"]
    outcomes = [Outcome.success(Photo(key, f"/p/{key}"), TWO_FACES) for key in keys]
    written(tmp_path, ["voc", "yolo", "coco"], outcomes)
    found = sorted((tmp_path / "voc/Annotations").rglob("*.xml"))
    assert len(found) == len({path.relative_to(tmp_path) for path in found}) == 3
    names = [ElementTree.parse(path).findtext("filename") for path in found]
    assert "a\ufffd\ufffd\ufffd&<.jpg" in names
    assert len(list((tmp_path / "yolo/labels").rglob("*.txt"))) == 3


def test_duckdb_and_pandas_load_parquet(tmp_path: Path) -> None:
    output = written(tmp_path, ["parquet"])
    photos, faces = output / "parquet/photos/*.parquet", output / "parquet/faces/*.parquet"
    query = f"select key, face_count, error_code, faces[1].box.left from '{photos}' order by key"
    assert duckdb.sql(query).fetchall() == [
        ("gone.jpg", None, "missing", None),
        ("people/two.jpg", 2, None, 10.5),
        ("ünï code.png", 0, None, None),
    ]
    assert duckdb.sql(f"select face, width, left_eye_x from '{faces}' order by face").fetchall() == [
        (0, 100.0, 40.5),
        (1, 50.25, pytest.approx(315.08, abs=0.01)),
    ]
    frame = pd.read_parquet(output / "parquet/photos")
    assert list(frame["face_count"].fillna(-1)) == [2, -1, 0]
    assert frame["faces"][0][1]["box"]["top"] == 200
    assert len(pd.read_parquet(output / "parquet/faces")) == 2


def test_parquet_of_many_photos_has_them_all_once(tmp_path: Path) -> None:
    many = [Outcome.success(Photo(f"{n}.jpg", f"/{n}.jpg"), NO_FACE) for n in range(12_345)]
    output = written(tmp_path, ["parquet"], many)
    keys = duckdb.sql(f"select count(*), count(distinct key) from '{output}/parquet/photos/*.parquet'")
    assert keys.fetchall() == [(12_345, 12_345)]
    assert len(pd.read_parquet(output / "parquet/faces")) == 0


def test_label_studio_gets_tasks_with_predictions_in_percent(tmp_path: Path) -> None:
    output = written(tmp_path, ["label-studio"])
    tasks = json.loads((output / "label_studio/tasks.json").read_text(encoding="utf-8"))
    assert [task["data"]["key"] for task in tasks] == ["people/two.jpg", "ünï code.png"]
    regions = tasks[0]["predictions"][0]["result"]
    box = regions[0]
    assert (box["type"], box["value"]["rectanglelabels"]) == ("rectanglelabels", ["Face"])
    assert box["value"]["x"] == pytest.approx(100 * 10.5 / 640, abs=1e-3)
    assert box["value"]["height"] == pytest.approx(100 * 120 / 480, abs=1e-3)
    assert sum(region["type"] == "keypointlabels" for region in regions) == 10
    config = ElementTree.parse(output / "label_studio/config.xml").getroot()
    controls = {element.get("name") for element in config.iter() if element.get("toName") == "image"}
    labels = {element.get("value") for element in config.iter("Label")}
    for region in regions:
        assert region["from_name"] in controls
        assert set(region["value"].get("rectanglelabels", region["value"].get("keypointlabels"))) <= labels
    assert tasks[1]["predictions"][0]["result"] == []


def test_wider_submission_has_name_count_and_boxes(tmp_path: Path) -> None:
    output = written(tmp_path, ["wider"])
    assert (output / "wider/people/two.txt").read_text().splitlines() == [
        "people/two",
        "2",
        "10.5 20.0 100.0 120.0 0.9",
        "300.0 200.0 50.25 60.0 0.6",
    ]


def test_a_line_end_in_a_name_does_not_split_a_submission(tmp_path: Path) -> None:
    name = "two\nlines\r\u2028here"
    outcome = Outcome.success(Photo(f"people/{name}.jpg", "s3://bucket/x"), Detections(8, 8))
    written(tmp_path, ["wider"], [outcome])
    text = (tmp_path / f"wider/people/{name}.txt").read_bytes().decode()
    assert text.splitlines() == ["people/two\ufffdlines\ufffd\ufffdhere", "0"]


def test_nothing_appears_when_writing_fails_half_way(tmp_path: Path) -> None:
    def broken() -> Any:
        yield OUTCOMES[0]
        raise RuntimeError("the disk is on fire")

    section = Section(0, (), Tally(), Tally(3, 1, 2))
    with pytest.raises(RuntimeError, match="on fire"):
        write_section(broken(), ["jsonl", "coco", "parquet", "label-studio"], LocalStorage(tmp_path), section)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_outcomes_that_were_not_counted_do_not_reconcile(tmp_path: Path) -> None:
    with pytest.raises(ReconciliationError, match="section 0 should have 3 photos, 1 errors, 9 faces"):
        write_section(OUTCOMES, ["jsonl"], LocalStorage(tmp_path), Section(0, (), Tally(), Tally(3, 1, 9)))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_what_is_written_is_the_same_however_many_write(tmp_path: Path) -> None:
    keys = ["a/x.jpg", "gone.jpg", "a/x.png", "b/y.webp", "a/x.png.jpg", "b/y", "b/../b/y"]
    outcomes = [
        OUTCOMES[1] if key == "gone.jpg" else Outcome.success(Photo(key, f"/{key}"), found)
        for key, found in zip(keys, [TWO_FACES, NO_FACE] * 4, strict=False)
    ]
    single = [name for name in FORMATS if name != "parquet"]
    written = []
    for cuts in ([7], [1, 2, 3, 4, 5, 6, 7], [3, 3, 7]):
        folder = write_run(tmp_path / str(len(cuts)), [*single, "parquet"], outcomes, cuts)
        files = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file() and path.suffix != ".parquet"
        }
        tables = [
            pd.read_parquet(folder / "parquet" / kind).to_dict("records") for kind in ("photos", "faces")
        ]
        written.append((files, str(tables)))
    assert written[0] == written[1] == written[2]
    # every photo with a result has a file of its own
    assert len({name for name in written[0][0] if name.startswith("yolo/labels/")}) == 6


def test_formats_are_read_with_commas() -> None:
    assert parse_formats("jsonl, COCO,jsonl") == ("jsonl", "coco")


@pytest.mark.parametrize("text", ["", "xlsx", "jsonl,xlsx", ","])
def test_an_unknown_format_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--format takes"):
        parse_formats(text)
