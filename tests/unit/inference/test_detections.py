from __future__ import annotations

import copy
import json
import math
import pickle
from dataclasses import FrozenInstanceError
from typing import Any

import hypothesis.strategies as st
import jsonschema
import pytest
from hypothesis import given

from featherface import DETECTIONS_SCHEMA, BoundingBox, Detections, Face, Landmarks, Point

VALIDATOR = jsonschema.Draft202012Validator(DETECTIONS_SCHEMA)


@st.composite
def detections(draw: st.DrawFn) -> Detections:
    width, height = draw(st.integers(1, 9000)), draw(st.integers(1, 9000))

    def box() -> BoundingBox:
        left, right = sorted(draw(st.tuples(*[st.floats(0, width)] * 2)))
        top, bottom = sorted(draw(st.tuples(*[st.floats(0, height)] * 2)))
        return BoundingBox(left, top, right - left, bottom - top)

    point = st.builds(Point, st.floats(-width, 2 * width), st.floats(-height, 2 * height))
    confidences = sorted(draw(st.lists(st.floats(0, 1), max_size=4)), reverse=True)
    faces = tuple(Face(c, box(), Landmarks(*(draw(point) for _ in range(5)))) for c in confidences)
    return Detections(width, height, faces)


@given(detections())
def test_json_form_is_valid_and_stable(result: Detections) -> None:
    form = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    VALIDATOR.validate(form)
    assert Detections.from_dict(form).to_dict() == form


@given(detections())
def test_json_form_is_close_to_the_values(result: Detections) -> None:
    for face, copied in zip(result.faces, Detections.from_dict(result.to_dict()).faces, strict=True):
        assert copied.confidence == pytest.approx(face.confidence, abs=5.1e-5)
        assert copied.box.right == pytest.approx(face.box.right, abs=0.0101)
        assert copied.landmarks.nose.x == pytest.approx(face.landmarks.nose.x, abs=0.0051)


@given(detections())
def test_ratios_are_parts_of_the_photo(result: Detections) -> None:
    for face in result.to_dict()["faces"]:
        assert face["box_ratio"]["left"] * result.width == pytest.approx(face["box"]["left"], abs=0.01)
        assert face["box_ratio"]["height"] * result.height == pytest.approx(face["box"]["height"], abs=0.01)


@given(detections())
def test_value_objects_compare_hash_and_pickle(result: Detections) -> None:
    twin = pickle.loads(pickle.dumps(result))
    assert twin == result
    assert hash(twin) == hash(result)


def example() -> Detections:
    points = (Point(3, 4), Point(5, 4), Point(4, 5), Point(3, 6), Point(5, 6))
    return Detections(10, 8, (Face(0.98765, BoundingBox(2, 3, 4, 5), Landmarks(*points)),))


def test_the_documented_form() -> None:
    assert example().to_dict() == {
        "schema_version": "1.0",
        "image": {"width": 10, "height": 8},
        "faces": [
            {
                "confidence": 0.9877,
                "box": {"left": 2.0, "top": 3.0, "width": 4.0, "height": 5.0},
                "box_ratio": {"left": 0.2, "top": 0.375, "width": 0.4, "height": 0.625},
                "landmarks": {
                    "left_eye": {"x": 3.0, "y": 4.0},
                    "right_eye": {"x": 5.0, "y": 4.0},
                    "nose": {"x": 4.0, "y": 5.0},
                    "mouth_left": {"x": 3.0, "y": 6.0},
                    "mouth_right": {"x": 5.0, "y": 6.0},
                },
            }
        ],
    }


def test_no_face_is_an_empty_list() -> None:
    assert Detections(4, 3).to_dict()["faces"] == []
    VALIDATOR.validate(Detections(4, 3).to_dict())


def test_negative_zero_is_written_as_zero() -> None:
    assert math.copysign(1.0, Point(-0.001, 1.0).to_dict()["x"]) == 1.0


def test_objects_are_immutable() -> None:
    result = example()
    with pytest.raises(FrozenInstanceError):
        result.width = 3  # type: ignore[misc]
    with pytest.raises((FrozenInstanceError, AttributeError, TypeError)):
        result.faces[0].box.extra = 3  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Point(math.nan, 1), "x must be a finite number"),
        (lambda: Point(True, 1), "x must be a finite number"),
        (lambda: BoundingBox(0, 0, -1, 1), "must not be negative"),
        (lambda: BoundingBox(0, math.inf, 1, 1), "top must be a finite number"),
        (lambda: Face(1.01, example().faces[0].box, example().faces[0].landmarks), "within 0 to 1"),
        (lambda: Detections(0, 1), "width must be a positive integer"),
        (lambda: Detections(2.0, 1), "width must be a positive integer"),  # type: ignore[arg-type]
        (lambda: Detections(5, 8, example().faces), "leaves the photo of 5 x 8"),
        (lambda: Detections(10, 8, list(example().faces)), "faces must be a tuple"),  # type: ignore[arg-type]
        (
            lambda: Detections(
                10, 8, (Face(0.1, BoundingBox(0, 0, 1, 1), example().faces[0].landmarks), *example().faces)
            ),
            "sorted by confidence",
        ),
        (lambda: Landmarks(*[Point(1, 1)] * 4, (1, 1)), "mouth_right must be a Point"),  # type: ignore[arg-type]
    ],
)
def test_nonsense_is_refused(make: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        make()


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (("schema_version",), "2.0", "schema_version must be '1.0', got '2.0'"),
        (("image", "width"), None, "width must be a positive integer"),
        (("faces",), "none", "faces must be an array"),
        (("faces", 0, "box", "left"), "1", "left must be a finite number"),
        (("faces", 0, "landmarks", "nose"), [1, 2], "must be an object"),
    ],
)
def test_from_dict_names_what_is_wrong(path: tuple[Any, ...], value: object, reason: str) -> None:
    form = example().to_dict()
    target = form
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    with pytest.raises(ValueError, match=reason):
        Detections.from_dict(form)
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(form)


def test_from_dict_names_what_is_missing() -> None:
    form = copy.deepcopy(example().to_dict())
    del form["faces"][0]["landmarks"]["nose"]
    with pytest.raises(ValueError, match="landmarks lacks 'nose'"):
        Detections.from_dict(form)


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(DETECTIONS_SCHEMA)
