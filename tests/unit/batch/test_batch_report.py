import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from featherface import BoundingBox, Detections, Face, ImageLimits, Landmarks, Point
from featherface_batch.errors import TimeoutPhotoError
from featherface_batch.manifest import make_manifest
from featherface_batch.pictures import preview
from featherface_batch.pool import Kind
from featherface_batch.records import Outcome, Photo
from featherface_batch.report import Gallery, render_report
from featherface_batch.s3 import S3Options
from featherface_batch.statistics import Histogram, Statistics
from featherface_batch.storage import LocalStorage
from featherface_batch.work import Meter, Prices

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
    with frozen(0.0) as clock:
        meter = metered(tmp_path, clock, 4, 2.0, Kind(2))
    manifest = make_manifest(IDENTITY, ("jsonl",), statistics, meter)
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
    manifest = make_manifest(IDENTITY, ("jsonl",), statistics, idle(tmp_path))
    page = Outline(render_report(manifest, statistics, Gallery(S3Options(), LIMITS, False)).decode())
    assert "No photo with a face could be shown" in page.text


def test_names_come_before_their_numbers_and_nothing_has_no_bar(tmp_path: Path) -> None:
    statistics = Statistics()
    few = Detections(160, 120, (Face(0.9, BOX, ONE_FACE.faces[0].landmarks),))
    many = Detections(160, 120, few.faces * 4)
    for name, found in (("a.jpg", Detections(160, 120)), ("b.jpg", many)):
        statistics.add(Outcome.success(Photo(name, ""), found))
    manifest = make_manifest(IDENTITY, ("jsonl",), statistics, idle(tmp_path))
    page = render_report(manifest, statistics, Gallery(S3Options(), LIMITS, False)).decode()
    numbers = page.partition('<dl class="numbers">')[2].partition("</dl>")[0]
    assert re.fullmatch(r"(<div><dt>[^<]+</dt><dd>[^<]+</dd></div>){5}", numbers)
    rows = re.findall(r"<td>(?:<i style=\"width:([\d.]+)%\"></i>)?</td><td>(\d+)</td>", page)
    assert ("", "0") in rows
    assert all((width == "") == (count == "0") for width, count in rows)


def test_the_manifest_estimates_the_cost(tmp_path: Path) -> None:
    with frozen(0.0) as clock:
        meter = metered(tmp_path, clock, 1000, 36.0, Kind(4, 0.5))
    manifest = make_manifest(IDENTITY, ("jsonl",), Statistics(), meter)
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
    manifest = make_manifest(IDENTITY, (), Statistics(), idle(tmp_path))
    assert manifest["versions"]["onnxruntime"] == onnxruntime.__version__


def test_a_start_without_work_keeps_the_speed_that_was_measured(tmp_path: Path) -> None:
    none = make_manifest(IDENTITY, (), Statistics(), idle(tmp_path))["throughput"]
    assert (none["starts"], none["photos"], none["photos_per_second"]) == (0, 0, None)
    with frozen(0.0) as clock:
        meter = metered(tmp_path, clock, 10, 2.0, Kind(1))
    first = make_manifest(IDENTITY, (), Statistics(), meter)["throughput"]
    again = make_manifest(IDENTITY, (), Statistics(), idle(tmp_path))["throughput"]
    assert (again.pop("this_start")["photos"], first.pop("this_start")["photos"]) == (0, 10)
    assert again == first
    assert first["photos_per_second"] == 5.0


def test_the_manifest_and_the_report_tell_of_all_starts(tmp_path: Path) -> None:
    with frozen(0.0) as clock:
        metered(tmp_path, clock, 1000, 36.0, Kind(4))
        retry = metered(tmp_path, clock, 2, 4.0, Kind(1))
    manifest = make_manifest(IDENTITY, (), Statistics(), retry)
    throughput = json.loads(json.dumps(manifest["throughput"]))
    this = throughput.pop("this_start")
    assert throughput == {
        "starts": 2,
        "photos": 1002,
        "seconds": 40.0,
        "cpu_seconds": 148.0,
        "gpu_seconds": 0.0,
        "photos_per_second": 25.05,
        "estimated_dollars": pytest.approx(148 / 3600 * 0.05, abs=1e-6),
        "estimated_dollars_per_million_photos": 2.05,
    }
    assert (this["photos"], this["seconds"], this["photos_per_second"]) == (2, 4.0, 0.5)
    assert (this["workers"], this["cpus"], this["cpu_seconds"]) == (1, 1, 4.0)
    text = Outline(render_report(manifest, Statistics(), Gallery(S3Options(), LIMITS, False)).decode()).text
    assert "photos per second, over 2 starts25.1" in text
    assert "this start: photos per second" in text


def test_workers_are_counted_that_were_there_and_for_as_long_as_they_were(tmp_path: Path) -> None:
    with frozen(0.0) as clock:
        meter = idle(tmp_path)
        meter.begin()
        for now, worker, kind, age in (
            (10, "a", Kind(2), 8),
            (15, "gpu", Kind(1, 0.25), 5),
            # what a worker says may come late
            (20, "a", Kind(2), 18),
            # in the place of one that died
            (40, "b", Kind(2), 10),
        ):
            clock.now = now
            meter.add(worker, kind, age, 32)
        clock.now = 60
        meter.keep()
    work = meter.work
    assert (work.photos, work.seconds, work.workers) == (128, 60, 3)
    assert (work.cpus, work.gpus) == (3, 0.25)
    assert (work.cpu_seconds, work.gpu_seconds) == (2 * 18 + 5 + 2 * 10, 0.25 * 5)


def test_what_a_start_did_is_kept_though_it_is_killed(tmp_path: Path) -> None:
    with frozen(0.0) as clock:
        meter = idle(tmp_path)
        meter.begin()
        for _ in range(3):
            clock.now += 6
            meter.add("a", Kind(1), clock.now, 32)
    (start,) = idle(tmp_path).starts
    assert (start.photos, start.seconds, start.cpu_seconds) == (64, 12, 12)


class Clock:
    now = 0.0


@contextmanager
def frozen(now: float) -> Iterator[Clock]:
    clock = Clock()
    clock.now = now
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("featherface_batch.work.time.monotonic", lambda: clock.now)
        yield clock


def idle(folder: Path) -> Meter:
    return Meter(LocalStorage(folder), Prices(0.05, 0.6))


def metered(folder: Path, clock: Clock, photos: int, seconds: float, kind: Kind) -> Meter:
    """Return the meter of a start in which one worker was there from the first second to the last."""
    meter = idle(folder)
    meter.begin()
    clock.now += seconds
    meter.add("one", kind, seconds, photos)
    meter.keep()
    return meter
