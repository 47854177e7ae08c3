import io
import json
from html.parser import HTMLParser
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from featherface import BoundingBox, Detections, Face, ImageLimits, Landmarks, Point
from featherface_batch.errors import TimeoutPhotoError
from featherface_batch.manifest import MANIFEST_NAME, Work, make_manifest
from featherface_batch.pictures import preview
from featherface_batch.records import Outcome, Photo, write_json
from featherface_batch.report import Gallery, render_report
from featherface_batch.s3 import S3Options
from featherface_batch.statistics import Histogram, Statistics
from featherface_batch.storage import LocalStorage

LIMITS = ImageLimits()
BOX = BoundingBox(40, 30, 40, 40)
ONE_FACE = Detections(160, 120, (Face(0.9, BOX, Landmarks(*[Point(60, 50)] * 5)),))
IDENTITY = {"featherface": "0.1.0", "source": "<photos> & more", "limit": None, "model": "nano"}


def noise(seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x010F] = "a camera that tells"
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95, exif=exif)
    return buffer.getvalue()


class Outline(HTMLParser):
    """What a screen reader would find."""

    void = ("meta", "img", "br")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.captions = 0
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.void:
            self.open.append(tag)
        if tag == "img":
            self.images.append(dict(attrs))
        self.captions += tag == "caption"

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize(
    ("value", "index"), [(0, 0), (0.99, 0), (1, 1), (1.5, 1), (2, 2), (3, 2), (99, 2), (-1, 0)]
)
def test_a_range_holds_its_lower_edge(value: float, index: int) -> None:
    histogram = Histogram([0, 1, 2, 3])
    histogram.add(value)
    assert histogram.counts == [int(number == index) for number in range(3)]


def test_the_sample_is_the_same_whatever_the_order() -> None:
    outcomes = [Outcome.success(Photo(f"{number}.jpg", ""), ONE_FACE) for number in range(200)]
    forward, backward = Statistics(), Statistics()
    for one, other in zip(outcomes, reversed(outcomes), strict=True):
        forward.add(one)
        backward.add(other)
    assert forward.sample == backward.sample
    assert len(forward.sample) == 12
    assert forward.to_dict() == backward.to_dict()


def test_a_preview_is_small() -> None:
    assert Image.open(io.BytesIO(preview(noise(), ONE_FACE, LIMITS, 80))).size == (80, 60)


@pytest.mark.parametrize("blur", [False, True])
def test_the_report_tells_everything_and_needs_nothing(tmp_path: Path, blur: bool) -> None:
    (tmp_path / "a.jpg").write_bytes(noise())
    statistics = Statistics()
    statistics.add(Outcome.success(Photo('a"<b>.jpg', str(tmp_path / "a.jpg")), ONE_FACE))
    statistics.add(Outcome.success(Photo("gone.jpg", str(tmp_path / "gone.jpg")), ONE_FACE))
    statistics.add(Outcome.success(Photo("empty.jpg", ""), Detections(10, 10)))
    statistics.add(Outcome.failure(Photo("slow.jpg", ""), TimeoutPhotoError("<slow> & late")))
    manifest = make_manifest(
        IDENTITY, ("jsonl",), statistics, Work(4, 2.0, 2, 0, 0.05, 0.6), LocalStorage(tmp_path)
    )
    page = render_report(manifest, statistics, Gallery(S3Options(), LIMITS, blur)).decode()
    outline = Outline(page)
    assert outline.open == []
    assert [image["alt"] for image in outline.images] == ['a"<b>.jpg with 1 face marked']
    assert outline.captions == 5
    for text in ("<photos> & more", "<slow> & late", "timeout", "2.0", "nano"):
        assert text in outline.text
    assert "http" not in page.replace("http-equiv", "")


def test_a_report_of_nothing_but_errors_is_whole(tmp_path: Path) -> None:
    statistics = Statistics()
    statistics.add(Outcome.failure(Photo("slow.jpg", ""), TimeoutPhotoError("late")))
    manifest = make_manifest(
        IDENTITY, ("jsonl",), statistics, Work(1, 1.0, 1, 0, 0.05, 0.6), LocalStorage(tmp_path)
    )
    page = Outline(render_report(manifest, statistics, Gallery(S3Options(), LIMITS, False)).decode())
    assert "No photo with a face could be shown" in page.text


def test_the_manifest_estimates_the_cost(tmp_path: Path) -> None:
    manifest = make_manifest(
        IDENTITY, ("jsonl",), Statistics(), Work(1000, 36.0, 4, 0.5, 0.05, 0.6), LocalStorage(tmp_path)
    )
    assert manifest["throughput"]["photos_per_second"] == pytest.approx(27.78)
    assert manifest["throughput"]["estimated_dollars"] == pytest.approx(0.005)
    assert manifest["throughput"]["estimated_dollars_per_million_photos"] == 5.0
    assert {"python", "ray", "onnxruntime"} <= set(manifest["versions"])


def test_the_manifest_needs_no_package_of_the_name_onnxruntime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # with a GPU it is onnxruntime-gpu
    def version(name: str) -> str:
        if name == "onnxruntime":
            raise PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr("featherface_batch.manifest.version", version)
    manifest = make_manifest(
        IDENTITY, (), Statistics(), Work(1, 1.0, 1, 0, 0.05, 0.6), LocalStorage(tmp_path)
    )
    assert manifest["versions"]["onnxruntime"] == onnxruntime.__version__


def test_a_start_without_work_keeps_the_speed_that_was_measured(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    idle = Work(0, 0.1, 0, 0, 0.05, 0.6)
    assert make_manifest(IDENTITY, (), Statistics(), idle, storage)["throughput"] == {
        "photos_per_second": None
    }
    first = make_manifest(IDENTITY, (), Statistics(), Work(10, 2.0, 1, 0, 0.05, 0.6), storage)
    storage.write(MANIFEST_NAME, write_json(first))
    again = make_manifest(IDENTITY, (), Statistics(), idle, storage)
    assert json.loads(json.dumps(again["throughput"])) == first["throughput"]
