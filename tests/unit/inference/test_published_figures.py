"""README and docs/training.md tell the figures that were measured for the shipped packages."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from featherface import Detections, Detector, Settings
from featherface.packages import load_manifest

ROOT = Path(__file__).parents[3]
MODELS = [("v1", "V1"), ("nano", "Nano")]


def configuration(name: str) -> dict[str, Any]:
    folder = load_manifest().models[name].file("fp32").path.parent
    read: dict[str, Any] = json.loads((folder / "deployment_config.json").read_text())
    return read


def detect(name: str, photo: str, **settings: Any) -> Detections:
    detector = Detector.load(name, settings=Settings(**settings))
    return detector.detect((ROOT / "examples/photos" / photo).read_bytes())


def precisions(name: str, precision: str, size: int | str) -> list[float]:
    rows = configuration(name)["metrics"]["average_precision"]
    (row,) = (row for row in rows if (row["precision"], row["size"]) == (precision, size))
    return [row[difficulty] for difficulty in ("easy", "medium", "hard")]


def cells(document: str, first: str) -> list[list[str]]:
    """Return the rows of tables whose first cell begins with these words, as lists of cells."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (ROOT / document).read_text(encoding="utf-8").splitlines()
        if line.startswith("|")
    ]
    return [row for row in rows if row[0].startswith(first)]


def as_fractions(name: str, precision: str) -> list[str]:
    return [" / ".join(f"{ap:.4f}" for ap in precisions(name, precision, size)) for size in (640, "original")]


@pytest.mark.parametrize(("name", "title"), MODELS)
def test_the_readme_opens_with_the_figures_of_the_shipped_models(name: str, title: str) -> None:
    headline = cells("README.md", title)[0]
    assert headline[1] == " / ".join(f"{100 * ap:.1f}" for ap in precisions(name, "fp32", "original"))


@pytest.mark.parametrize(("name", "title"), MODELS)
def test_the_readme_compares_the_figures_of_the_shipped_models(name: str, title: str) -> None:
    (row,) = cells("README.md", f"FeatherFace {title} (")
    assert row[0].replace(" parameters", "") == f"FeatherFace {title} ({configuration(name)['parameters']:,})"
    assert row[1:3] == as_fractions(name, "fp32")


@pytest.mark.parametrize(("name", "title"), MODELS)
def test_the_history_of_val_ends_with_the_shipped_models(name: str, title: str) -> None:
    version = configuration(name)["version"]
    rows = cells("docs/training.md", f"{title} {version}")
    assert as_fractions(name, "fp32") in [row[1:3] for row in rows]
    assert as_fractions(name, "int8") in [row[1:3] for row in rows if row[0].endswith("int8")]


@pytest.mark.parametrize("document", ["README.md", "docs/training.md"])
def test_the_most_that_int8_loses_is_that_of_the_shipped_models(document: str) -> None:
    def most(name: str) -> str:
        losses = [
            100 * (full - quantised)
            for size in (640, "original")
            for full, quantised in zip(
                precisions(name, "fp32", size), precisions(name, "int8", size), strict=True
            )
        ]
        return f"{max(losses):.2f}"

    text = (ROOT / document).read_text(encoding="utf-8")
    assert f"at most {most('v1')} points (V1) and {most('nano')} (Nano)" in text


@pytest.mark.parametrize(("name", "title"), MODELS)
def test_the_error_of_landmarks_is_that_of_the_shipped_models(name: str, title: str) -> None:
    measured = 100 * configuration(name)["metrics"]["landmarks"]["normalised_mean_error"]
    (line,) = (
        line
        for line in (ROOT / "docs/training.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("Landmarks on ")
    )
    assert f"{title} {measured:.2f}%" in line


def test_the_sample_face_is_what_the_shipped_model_finds() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    told = json.loads(text.partition("```json\n")[2].partition("```")[0])
    (face,) = detect("nano", "astronaut.png").faces
    assert face.confidence == pytest.approx(told["confidence"], abs=2e-3)
    for side, pixels in told["box"].items():
        assert getattr(face.box, side) == pytest.approx(pixels, abs=0.2)
    for point, at in told["landmarks"].items():
        found = getattr(face.landmarks, point)
        assert (found.x, found.y) == pytest.approx((at["x"], at["y"]), abs=0.2)


def test_the_cat_is_taken_for_a_person_as_surely_as_the_readme_says() -> None:
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    told = re.search(r"for a person's, with ([\d.]+); Nano gives it ([\d.]+), less than", text)
    assert told
    for name, confidence in zip(("v1", "nano"), told.groups(), strict=True):
        cat = detect(name, "chelsea.png", confidence_threshold=0.3).faces[0]
        assert cat.confidence == pytest.approx(float(confidence), abs=0.01)


def test_real_faces_of_the_samples_are_found_as_surely_as_the_readme_says() -> None:
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    told = re.search(
        r"have ([\d.]+) and more, one that the edge cuts in half ([\d.]+) \(Nano ([\d.]+)\)", text
    )
    assert told
    least, *cut = (float(figure) for figure in told.groups())
    for name, confidence in zip(("v1", "nano"), cut, strict=True):
        faces = [
            face
            for photo in ("astronaut.png", "grace_hopper.jpg", "group.jpg", "sideways.jpg")
            for face in detect(name, photo).faces
            if face.box.height >= 80
        ]
        weakest, *others = sorted(face.confidence for face in faces)
        assert weakest == pytest.approx(confidence, abs=0.01)
        assert min(others) >= least
