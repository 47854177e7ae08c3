import json
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from finders import KILLER, SLEEPER, BrokenFinder, TroubledFinder

from featherface import Detector, Settings
from featherface_batch import job
from featherface_batch.errors import (
    BatchError,
    OutputMismatchError,
    RunInUseError,
    SourceError,
    TooManyErrorsError,
    UsageError,
    WorkerError,
)
from featherface_batch.job import JobConfig, JobSummary, annotate
from featherface_batch.lease import Lease
from featherface_batch.limits import ErrorLimit
from featherface_batch.pool import Limits
from featherface_batch.s3 import S3Options
from featherface_batch.sources import FolderSource
from featherface_batch.storage import LocalStorage
from featherface_batch.written import WrittenFormats

pytestmark = pytest.mark.usefixtures("ray_cluster")

SETTINGS = Settings(input_size=320, confidence_threshold=0.05)


def run(source: object, output: object, **options: Any) -> JobSummary:
    return annotate(JobConfig(str(source), str(output), **{"settings": SETTINGS, "cpus": 2, **options}))


def rows(output: Path, name: str = "annotations.jsonl") -> dict[str, dict[str, Any]]:
    lines = [json.loads(line) for line in (output / name).read_text(encoding="utf-8").splitlines()]
    assert len({line["key"] for line in lines}) == len(lines)
    return {line["key"]: line for line in lines}


def codes(output: Path) -> dict[str, str]:
    return {key: row["error"]["code"] for key, row in rows(output, "errors.jsonl").items()}


def keys(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_is_annotated_as_the_detector_would(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    summary = run(photos, output, previews=True, blur=True)
    found = rows(output)
    assert set(found) == keys(photos)
    assert keys(output / "blurred") == keys(output / "previews") == keys(photos)
    assert (summary.photos, summary.errors, summary.annotated) == (40, 0, 40)
    detector = Detector.load(settings=SETTINGS)
    for key in ("0/00.jpg", "1/37.jpg"):
        expected = detector.detect((photos / key).read_bytes()).to_dict()
        assert {name: found[key][name] for name in expected} == expected
    assert len(json.loads((output / "coco.json").read_text())["images"]) == 40
    assert json.loads((output / "_SUCCESS").read_text())["photos"] == 40
    assert json.loads((output / "manifest.json").read_text())["counts"]["photos"] == 40
    assert "40" in (output / "report.html").read_text()
    progress = json.loads((output / "progress.json").read_text())
    assert (progress["done"], progress["photos"], progress["errors"]) == (40, 40, 0)
    assert progress["state"] == "complete"


def test_the_cost_is_that_of_the_workers_that_there_were(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    run(photos, output, workers=Limits(worker_cpus=1, max_workers=64))
    throughput = json.loads((output / "manifest.json").read_text())["throughput"]
    this = throughput["this_start"]
    # this Ray has two CPUs
    assert 1 <= this["workers"] == this["cpus"] <= 2
    assert 0 < this["cpu_seconds"] <= 2 * throughput["seconds"]
    # dollars have six decimals there, seconds one
    dollars = 0.045 * this["cpu_seconds"] / 3600
    assert throughput["estimated_dollars"] == pytest.approx(dollars, abs=0.5e-6 + 0.05 * 0.045 / 3600)


def test_workers_have_room_where_there_is_this_machine_alone(photos: Path, tmp_path: Path) -> None:
    # a worker of four CPUs, the most by default, would wait for a node for ever
    assert run(photos, tmp_path / "out", workers=Limits(max_workers=1)).photos == 40
    with pytest.raises(UsageError, match=r"Ray finds 0 GPU\(s\) here"):
        run(photos, tmp_path / "other", settings=Settings(device="cuda"))


def test_bad_photos_cost_only_themselves(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    (photos / "broken.jpg").write_bytes((photos / "0/00.jpg").read_bytes()[:400])
    (photos / "empty.png").write_bytes(b"")
    (photos / "animation.gif").write_bytes(b"GIF89a" + bytes(50))
    (photos / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    summary = run(photos, output)
    assert codes(output) == {
        "broken.jpg": "unreadable_image",
        "empty.png": "unreadable_image",
        "animation.gif": "unsupported_format",
        "gone.jpg": "missing",
    }
    assert (summary.photos, summary.errors) == (44, 4)
    assert len(rows(output)) == 40


def test_a_finished_run_is_not_done_again_and_gains_formats(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    run(photos, output, formats=("jsonl",))
    before = {path: path.stat().st_mtime_ns for path in (output / "_work/results").rglob("*.jsonl")}
    for photo in photos.rglob("*.jpg"):
        photo.unlink()
    summary = run(photos, output, formats=("coco", "jsonl"))
    assert summary.annotated == 0
    assert {path: path.stat().st_mtime_ns for path in (output / "_work/results").rglob("*.jsonl")} == before
    assert (output / "coco.json").exists()


def test_only_what_failed_is_tried_again(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    whole = (photos / "0/00.jpg").read_bytes()
    (photos / "0/00.jpg").write_bytes(whole[:300])
    (photos / "2/38.jpg").write_bytes(b"never a photo")
    run(photos, output)
    assert set(codes(output)) == {"0/00.jpg", "2/38.jpg"}
    (photos / "0/00.jpg").write_bytes(whole)
    # Gone: whatever was finished must not be fetched again.
    (photos / "1/01.jpg").unlink()
    summary = run(photos, output, retry_errors=True)
    assert summary.annotated == 2
    throughput = json.loads((output / "manifest.json").read_text())["throughput"]
    assert (throughput["starts"], throughput["photos"], throughput["this_start"]["photos"]) == (2, 42, 2)
    assert set(codes(output)) == {"2/38.jpg"}
    assert (summary.photos, summary.errors) == (40, 1)
    assert set(rows(output)) == keys(photos) - {"2/38.jpg"} | {"1/01.jpg"}


def test_a_limit_takes_the_first_photos_and_is_another_run(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    summary = run(photos, output, limit=5)
    assert summary.photos == 5
    assert list(rows(output)) == sorted(keys(photos))[:5]
    assert json.loads((output / "manifest.json").read_text())["limit"] == 5
    assert "first 5 photos" in (output / "report.html").read_text()
    with pytest.raises(OutputMismatchError, match="limit: there 5, now None"):
        run(photos, output)


def test_other_options_don_t_mix(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    run(photos, output)
    with pytest.raises(OutputMismatchError, match=r"confidence_threshold: there 0\.05, now 0\.5"):
        run(photos, output, settings=Settings(input_size=320))
    assert (output / "_SUCCESS").exists()


def test_a_run_that_another_command_works_on_is_left_alone(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    run(photos, output)
    writing = output / "_work/.0123456789ab.partial"
    writing.write_bytes(b"half a fi")
    with Lease(LocalStorage(output), every=0.05), pytest.raises(RunInUseError, match="is working on"):
        run(photos, output, formats=("voc",))
    assert writing.exists()
    assert (output / "_SUCCESS").exists()
    run(photos, output, formats=("voc",))
    assert not list((output / "_work").glob("lease*"))


def test_a_photo_that_kills_its_worker_costs_no_neighbour(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    for name in ("0/03.jpg", "1/19.jpg"):
        path = photos / name
        path.write_bytes(path.read_bytes() + KILLER)
    # what a worker leaves that dies while it writes, which happens now and then
    half = output / "_work/attempts/.0123456789ab.partial"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"")
    run(photos, output, load=TroubledFinder)
    assert codes(output) == {"0/03.jpg": "worker_crash", "1/19.jpg": "worker_crash"}
    assert len(rows(output)) == 38
    assert not [path for path in (output / "_work/attempts").rglob("*") if path.is_file()]


def test_a_slow_photo_ends_as_a_time_out(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    for name in ("0/03.jpg", "0/06.jpg", "1/19.jpg"):
        path = photos / name
        path.write_bytes(path.read_bytes() + SLEEPER)
    # in it, each thread that takes another's place loads a detector of its own, too
    run(photos, output, load=TroubledFinder, timeout=8.0)
    assert set(codes(output).values()) == {"timeout"}
    assert len(rows(output)) == 37


def test_a_run_that_goes_wrong_stops_and_can_go_on(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    for path in photos.rglob("*.jpg"):
        path.write_bytes(b"not a photo")
    with pytest.raises(TooManyErrorsError, match="may"):
        run(photos, output, max_errors=ErrorLimit(count=3))
    assert not (output / "_SUCCESS").exists()
    assert json.loads((output / "progress.json").read_text())["state"] == "stopped"
    assert run(photos, output).errors == 40


@pytest.mark.parametrize("again", [{}, {"retry_errors": True}])
def test_a_run_with_too_many_errors_is_not_complete_at_the_next_start_either(
    photos: Path, tmp_path: Path, again: dict[str, Any]
) -> None:
    output = tmp_path / "out"
    (photos / "0/00.jpg").write_bytes(b"not a photo")
    for options in ({}, again):
        # one shard, so that all is done when it turns out
        with pytest.raises(TooManyErrorsError, match="1 of 5 photos"):
            run(photos, output, limit=5, max_errors=ErrorLimit(count=0), **options)
        assert not (output / "_SUCCESS").exists()
    assert run(photos, output, limit=5, max_errors=ErrorLimit(count=1)).errors == 1


def test_a_retry_leaves_no_format_behind(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    whole = (photos / "0/00.jpg").read_bytes()
    (photos / "0/00.jpg").write_bytes(whole[:300])
    run(photos, output, formats=("voc", "yolo"))
    assert not (output / "voc/Annotations/0/00.xml").exists()
    (photos / "0/00.jpg").write_bytes(whole)
    run(photos, output, formats=("jsonl",), retry_errors=True)
    assert set(rows(output)) == keys(photos)
    assert (output / "voc/Annotations/0/00.xml").exists()
    assert (output / "yolo/labels/0/00.txt").exists()
    assert json.loads((output / "manifest.json").read_text())["formats"] == "jsonl, voc, yolo"


def test_formats_that_agree_with_the_results_are_not_written_anew(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    run(photos, output, formats=("coco",))
    before = (output / "coco.json").stat().st_mtime_ns
    run(photos, output, formats=("jsonl",))
    assert (output / "coco.json").stat().st_mtime_ns == before
    assert json.loads((output / "manifest.json").read_text())["formats"] == "coco, jsonl"


def test_a_start_that_dies_while_it_writes_leaves_its_formats_to_the_next(
    photos: Path, tmp_path: Path
) -> None:
    storage = LocalStorage(tmp_path)
    WrittenFormats(storage).begin(["coco", "jsonl"])
    assert WrittenFormats(storage).begin(["voc"]) == ("voc", "coco", "jsonl")
    WrittenFormats(storage).end(["voc", "coco", "jsonl"])
    assert WrittenFormats(storage).begin(["voc"]) == ("voc",)
    WrittenFormats(storage).outdate()
    assert WrittenFormats(storage).names == ("coco", "jsonl", "voc")
    assert WrittenFormats(storage).begin([]) == ("coco", "jsonl", "voc")


def test_a_model_that_fails_in_the_worker_ends_the_run_with_its_own_error(
    photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(WorkerError, match="ModelHashError: the model's bytes are others"):
        run(photos, tmp_path / "out", load=BrokenFinder)


def test_whoever_polls_knows_of_a_run_while_its_source_is_listed(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, seen = tmp_path / "out", []

    class Watched(FolderSource):
        def partitions(self) -> list[str]:
            seen.append(json.loads((output / "progress.json").read_text())["state"])
            return super().partitions()

    monkeypatch.setattr("featherface_batch.job.open_source", lambda *_: Watched(photos))
    run(photos, output)
    assert seen == ["listing"]
    assert json.loads((output / "progress.json").read_text())["state"] == "complete"


def test_a_source_without_photos_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="holds no photo"):
        run(tmp_path / "empty", tmp_path / "out")


def test_a_source_that_had_no_photo_yet_is_listed_again(photos: Path, tmp_path: Path) -> None:
    output, late = tmp_path / "out", tmp_path / "late"
    late.mkdir()
    for _ in range(2):
        with pytest.raises(SourceError, match="holds no photo") as refused:
            run(late, output)
        progress = json.loads((output / "progress.json").read_text())
        assert progress["failure"] == {"code": "source", "message": str(refused.value)}
    (late / "a.jpg").write_bytes((photos / "0/00.jpg").read_bytes())
    assert run(late, output).photos == 1
    (late / "b.jpg").write_bytes((photos / "0/00.jpg").read_bytes())
    assert run(late, output).photos == 1, "what was listed stays the run"


def test_a_misspelt_source_can_be_corrected(photos: Path, tmp_path: Path, s3: Any, s3_endpoint: str) -> None:
    s3.create_bucket(Bucket="well-spelt")
    s3.put_object(Bucket="well-spelt", Key="a.jpg", Body=(photos / "0/00.jpg").read_bytes())
    output, options = tmp_path / "out", S3Options(endpoint_url=s3_endpoint)
    with pytest.raises(SourceError, match=r"s3://wel-spelt/ cannot be listed"):
        run("s3://wel-spelt", output, s3=options)
    assert run("s3://well-spelt", output, s3=options).photos == 1
    assert json.loads((output / "run.json").read_text())["source"] == "s3://well-spelt/"
    with pytest.raises(OutputMismatchError, match="source: there 's3://well-spelt/'"):
        run("s3://wel-spelt", output, s3=options)


def test_of_two_starts_at_once_the_one_that_works_says_what_the_run_is(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    working: list[float] = []
    refused: list[BatchError] = []
    ended = threading.Event()

    class Slow(LocalStorage):
        def write(self, name: str, data: bytes) -> None:
            self._wait(name, data)
            super().write(name, data)

        def create(self, name: str, data: bytes) -> bool:
            self._wait(name, data)
            return super().create(name, data)

        def _wait(self, name: str, data: bytes) -> None:
            if name == "run.json":
                time.sleep(json.loads(data)["confidence_threshold"])

    def work(source: Any, ledger: Any, identity: dict[str, Any], *_: object) -> None:
        working.append(identity["confidence_threshold"])
        ended.wait(30)
        raise SourceError("enough")

    monkeypatch.setattr(job, "open_storage", lambda place, options: Slow(Path(place)))
    monkeypatch.setattr(job, "Lease", partial(Lease, every=0.05))
    monkeypatch.setattr(job, "_run", work)

    def start(threshold: float) -> None:
        try:
            run(photos, output, settings=Settings(confidence_threshold=threshold))
        except BatchError as error:
            refused.append(error)
            ended.set()

    threads = [threading.Thread(target=start, args=(threshold,)) for threshold in (0.5, 0.9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(working) == 1
    assert json.loads((output / "run.json").read_text())["confidence_threshold"] == working[0]
    assert {error.code for error in refused} == {"run_in_use", "source"}


@pytest.mark.parametrize("inside", ["", "faces"])
def test_the_output_must_not_lie_in_the_source(photos: Path, inside: str) -> None:
    with pytest.raises(UsageError, match="choose another place"):
        run(photos, photos / inside)


@pytest.mark.parametrize("output", ["photos/0/../../empty/../photos/out", "link/out", "link/0/../out"])
def test_no_link_and_no_way_around_leads_into_the_source(photos: Path, tmp_path: Path, output: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(photos)
    before = keys(photos)
    for source in (photos, tmp_path / "link", tmp_path / "empty/../photos"):
        with pytest.raises(UsageError, match="lies inside of the source"):
            run(source, tmp_path / output)
    assert keys(photos) == before


def test_bucket_to_bucket(photos: Path, tmp_path: Path, s3: Any, s3_endpoint: str) -> None:
    s3.create_bucket(Bucket="photos")
    s3.create_bucket(Bucket="results")
    for path in photos.rglob("*.jpg"):
        name = path.relative_to(photos).as_posix()
        s3.put_object(Bucket="photos", Key=f"set a/{name}", Body=path.read_bytes())
    s3.put_object(Bucket="photos", Key="set a/odd + name%20é.jpg", Body=b"broken")
    s3.put_object(Bucket="photos", Key="set b/other.jpg", Body=b"not listed")
    options = S3Options(endpoint_url=s3_endpoint)
    summary = run("s3://photos/set a", "s3://results/run 1", s3=options)
    assert (summary.photos, summary.errors) == (41, 1)
    local = tmp_path / "local"
    run(photos, local)

    def read(name: str) -> dict[str, dict[str, Any]]:
        body = s3.get_object(Bucket="results", Key=f"run 1/{name}")["Body"].read().decode()
        return {row["key"]: row for row in map(json.loads, body.splitlines())}

    assert {key: row["faces"] for key, row in read("annotations.jsonl").items()} == {
        key: row["faces"] for key, row in rows(local).items()
    }
    assert {key: row["error"]["code"] for key, row in read("errors.jsonl").items()} == {
        "odd + name%20é.jpg": "unsupported_format"
    }
    assert run("s3://photos/set a/", "s3://results/run 1", s3=options).annotated == 0


def test_a_bucket_that_is_not_there_is_named(tmp_path: Path, s3: Any, s3_endpoint: str) -> None:
    with pytest.raises(SourceError, match=r"s3://nowhere/.*NoSuchBucket"):
        run("s3://nowhere/photos", tmp_path / "out", s3=S3Options(endpoint_url=s3_endpoint))
