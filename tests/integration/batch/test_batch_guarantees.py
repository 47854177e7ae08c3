"""What only real servers, a killed cluster and a real terminal show."""

import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import boto3
import psutil
import pytest
from conftest import COMMAND, cluster_environment, jpeg, serving
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

from featherface import Settings
from featherface.cli import main
from featherface_batch.job import JobConfig, annotate
from featherface_batch.s3 import S3Address, S3Options
from featherface_batch.storage import S3Storage
from featherface_batch.storage.multipart import concatenate

SETTINGS = Settings(input_size=320)
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def counted() -> Iterator[tuple[str, Counter[str]]]:
    """An S3 server that counts who was fetched how often."""
    gets: Counter[str] = Counter()
    application = DomainDispatcherApplication(create_backend_app)

    def counting(environ: dict[str, Any], start_response: Any) -> Any:
        if environ["REQUEST_METHOD"] == "GET":
            gets[unquote(environ["PATH_INFO"])] += 1
        return application(environ, start_response)

    with serving(counting) as endpoint:
        yield endpoint, gets


CLUSTER = """
import sys
from ray.cluster_utils import Cluster
from featherface import Settings
from featherface_batch.job import JobConfig, annotate
from featherface_batch.pool import Limits
from featherface_batch.s3 import S3Options
from finders import RecordingFinder

source, output, endpoint = sys.argv[1:]
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
cluster.add_node(num_cpus=2, object_store_memory=80 * 2**20)
cluster.wait_for_nodes()
print(annotate(JobConfig(
    source, output, Settings(input_size=320), address=cluster.address, workers=Limits(worker_cpus=1),
    s3=S3Options(endpoint_url=endpoint), load=RecordingFinder
)), flush=True)
"""


def test_a_whole_cluster_is_killed_and_nothing_finished_is_fetched_again(
    tmp_path: Path, counted: tuple[str, Counter[str]]
) -> None:
    endpoint, gets = counted
    s3 = boto3.client("s3", endpoint_url=endpoint)
    for bucket in ("killed-photos", "killed-faces"):
        s3.create_bucket(Bucket=bucket)
    keys = [f"{number:03d}.jpg" for number in range(256)]
    for number, key in enumerate(keys):
        s3.put_object(Bucket="killed-photos", Key=key, Body=jpeg(number, 48, 48))
    command = [sys.executable, "-c", CLUSTER, "s3://killed-photos", "s3://killed-faces/run", endpoint]
    environment = cluster_environment(tmp_path / "log")

    def results() -> list[str]:
        answer = s3.list_objects_v2(Bucket="killed-faces", Prefix="run/_work/results/")
        return [entry["Key"] for entry in answer.get("Contents", ())]

    def serves() -> bool:
        """Whether a request is under way: each has a thread, which is named after its function."""
        return any("process_request_thread" in thread.name for thread in threading.enumerate())

    run = subprocess.Popen(command, env=environment)
    deadline = time.monotonic() + 180
    while len(results()) < 2:
        assert run.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.1)
    # the driver, both raylets, the head's services and all workers, at once and without a word
    family = [psutil.Process(run.pid), *psutil.Process(run.pid).children(recursive=True)]
    names = []
    for process in family:
        # Ray ends some of its helpers by itself, at any time
        with suppress(psutil.NoSuchProcess):
            names.append(process.name())
    assert names.count("raylet") == 2
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    psutil.wait_procs(family, timeout=30)
    run.wait()
    # what the dead have sent may still be on its way into the store
    deadline = time.monotonic() + 60
    while serves():
        assert time.monotonic() < deadline
        time.sleep(0.01)

    kept = results()
    bodies = [s3.get_object(Bucket="killed-faces", Key=key)["Body"].read() for key in kept]
    finished = {json.loads(line)["key"] for body in bodies for line in body.splitlines()}
    assert 0 < len(finished) < len(keys)
    before = {key: gets[f"/killed-photos/{key}"] for key in keys}

    again = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stderr[-3000:]
    fetched = {key for key in keys if gets[f"/killed-photos/{key}"] > before[key]}
    # the report shows a few photos, and fetches those once more
    report = s3.get_object(Bucket="killed-faces", Key="run/report.html")["Body"].read().decode()
    shown = set(re.findall(r"<figcaption>(.*?)<br>", report))
    assert fetched - shown == set(keys) - finished - shown
    lines = s3.get_object(Bucket="killed-faces", Key="run/annotations.jsonl")["Body"].read().splitlines()
    assert [json.loads(line)["key"] for line in lines] == keys
    assert set(kept) <= set(results())
    marker = s3.get_object(Bucket="killed-faces", Key="run/_SUCCESS")["Body"].read()
    assert json.loads(marker)["photos"] == 256


def test_two_servers_stand_beside_each_other(seaweed: Any) -> None:
    from examples.demo.servers import seaweedfs

    with seaweedfs() as endpoint:
        assert endpoint != seaweed.meta.endpoint_url


@pytest.mark.parametrize("kind", ["seaweed", "counted"])
def test_an_object_is_put_together_without_its_bytes_coming_here(
    kind: str, request: pytest.FixtureRequest
) -> None:
    fixture = request.getfixturevalue(kind)
    s3 = fixture if kind == "seaweed" else boto3.client("s3", endpoint_url=fixture[0])
    s3.create_bucket(Bucket="pieces")
    # large enough for a part, far too small, empty, and some that are large enough together only
    sizes = [6 * MIB, 10, 0, 5 * MIB + 7, 3 * MIB, 3 * MIB, 12 * MIB, 1]
    pieces: list[S3Address | bytes] = [b"["]
    wanted = io.BytesIO()
    wanted.write(b"[")
    for number, size in enumerate(sizes):
        body = bytes([65 + number]) * size
        s3.put_object(Bucket="pieces", Key=f"{number}", Body=body)
        pieces.append(S3Address("pieces", f"{number}"))
        wanted.write(body)
    concatenate(s3, S3Address("pieces", "whole"), pieces)
    assert s3.get_object(Bucket="pieces", Key="whole")["Body"].read() == wanted.getvalue()
    concatenate(s3, S3Address("pieces", "small"), [b"a", S3Address("pieces", "1"), b"z"])
    assert s3.get_object(Bucket="pieces", Key="small")["Body"].read() == b"a" + b"B" * 10 + b"z"


def test_a_long_object_is_written_in_parts_and_a_broken_one_does_not_appear(
    counted: tuple[str, Counter[str]],
) -> None:
    endpoint, _ = counted
    s3 = boto3.client("s3", endpoint_url=endpoint)
    s3.create_bucket(Bucket="streamed")
    storage = S3Storage(S3Address("streamed", "run"), S3Options(endpoint_url=endpoint))
    chunk = os.urandom(MIB)
    with storage.writer("long") as file:
        for _ in range(40):
            file.write(chunk)
        assert file.tell() == 40 * MIB
    assert storage.read("long") == chunk * 40

    def break_off() -> None:
        with storage.writer("broken") as file:
            file.write(chunk * 20)
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        break_off()
    assert list(storage.names("")) == ["long"]
    assert not s3.list_multipart_uploads(Bucket="streamed").get("Uploads")


def test_an_object_is_created_once(counted: tuple[str, Counter[str]]) -> None:
    endpoint, _ = counted
    boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket="created")
    storage = S3Storage(S3Address("created", "run"), S3Options(endpoint_url=endpoint))
    assert storage.create("lease", b"first")
    assert not storage.create("lease", b"second")
    assert storage.read("lease") == b"first"


def test_a_server_without_conditional_writes_takes_plain_ones() -> None:
    application = DomainDispatcherApplication(create_backend_app)

    def older(environ: dict[str, Any], start_response: Any) -> Any:
        if environ["REQUEST_METHOD"] == "PUT" and "HTTP_IF_NONE_MATCH" in environ:
            start_response("501 Not Implemented", [("Content-Type", "application/xml")])
            return [b"<Error><Code>NotImplemented</Code><Message>A header is not known</Message></Error>"]
        return application(environ, start_response)

    with serving(older) as endpoint:
        boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket="older")
        storage = S3Storage(S3Address("older", "run"), S3Options(endpoint_url=endpoint))
        assert storage.create("lease", b"mine")
        assert storage.read("lease") == b"mine"


@pytest.mark.usefixtures("ray_cluster")
def test_the_time_of_a_photo_is_no_bound_for_listings_and_commits() -> None:
    application = DomainDispatcherApplication(create_backend_app)

    def slow(environ: dict[str, Any], start_response: Any) -> Any:
        path, listing = environ["PATH_INFO"], "list-type" in environ.get("QUERY_STRING", "")
        if (listing and "slow-photos" in path) or "/_work/results/" in path:
            time.sleep(4.6)
        if path.endswith("hanging.jpg") and environ["REQUEST_METHOD"] == "GET":
            time.sleep(12)
        return application(environ, start_response)

    with serving(slow) as endpoint:
        s3 = boto3.client("s3", endpoint_url=endpoint)
        for bucket in ("slow-photos", "slow-faces"):
            s3.create_bucket(Bucket=bucket)
        for number, key in enumerate(("1.jpg", "2.jpg", "hanging.jpg")):
            s3.put_object(Bucket="slow-photos", Key=key, Body=jpeg(number))
        options = {"--format": "jsonl", "--timeout": "4", "--endpoint-url": endpoint, "--input-size": "320"}
        machine = ["--cpus", "2", "--worker-cpus", "1"]
        run = ["annotate", "s3://slow-photos", "--output", "s3://slow-faces/run", *machine]
        assert main([*run, *chain.from_iterable(options.items())]) == 0

        def lines(name: str) -> list[dict[str, Any]]:
            body = s3.get_object(Bucket="slow-faces", Key=f"run/{name}.jsonl")["Body"].read()
            return [json.loads(line) for line in body.splitlines()]

        assert [row["key"] for row in lines("annotations")] == ["1.jpg", "2.jpg"]
        assert [(row["key"], row["error"]["code"]) for row in lines("errors")] == [("hanging.jpg", "timeout")]


@pytest.mark.usefixtures("ray_cluster")
def test_many_tasks_write_what_one_would(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from featherface_batch import job
    from featherface_batch.writing import write_all

    for name in ("0", "1", "2"):
        # a twin of a photo, and one that fails, in each stretch
        (photos / name / f"0{name}.png").write_bytes((photos / name / f"0{name}.jpg").read_bytes())
        (photos / name / "broken.jpg").write_bytes(b"no photo")
    keys = [path.relative_to(tmp_path).as_posix() for path in photos.rglob("*.*")]
    # an order in which twins are far apart
    keys.sort(key=lambda key: key[::-1])
    source = tmp_path / "list.csv"
    source.write_text("path\n" + "".join(f"{key}\n" for key in keys))
    # more parts than the driver reads by itself
    monkeypatch.setattr("featherface_batch.plan.PART_PHOTOS", 8)
    formats = ("coco", "jsonl", "label-studio", "voc", "yolo")
    found = []
    for section in (10_000, 16):
        output = tmp_path / f"out{section}"
        monkeypatch.setattr(
            job, "write_all", lambda *arguments, size=section: write_all(*arguments, section_photos=size)
        )
        annotate(JobConfig(str(source), str(output), SETTINGS, formats, cpus=2))
        found.append(
            {
                path.relative_to(output).as_posix(): path.read_bytes()
                for path in output.rglob("*")
                if path.is_file()
                and path.name not in {"progress.json", "manifest.json", "report.html"}
                # how long each start took
                and path.parent.name != "starts"
            }
        )
    assert found[0].keys() == found[1].keys()
    assert found[0] == found[1]
    assert len([name for name in found[0] if name.startswith("yolo/labels/")]) == 43


def test_a_terminal_shows_a_bar(photos: Path, tmp_path: Path) -> None:
    main, terminal = pty.openpty()
    command = [COMMAND, "annotate", str(photos), "--output", f"{tmp_path}/out", "--input-size", "320"]
    run = subprocess.Popen(command, stderr=terminal, stdout=subprocess.PIPE, text=True)
    os.close(terminal)
    shown = b""
    try:
        while chunk := os.read(main, 4096):
            shown += chunk
    except OSError:
        # the other end is closed
        pass
    answer, _ = run.communicate(timeout=180)
    assert run.returncode == 0, shown.decode()
    assert "40 photos" in answer
    assert b"starting Ray" in shown
    # C++ would say there that it has read a variable of ours
    assert b"logging.cc" not in shown
    # each bar overwrites the one before it; the last is what stays, above a line if the results take long
    bars = [line for line in shown.decode().split("\r\n") if "\r" in line]
    bar = bars[-1].split("\r")[-1]
    assert "100%" in bar
    assert "40/40" in bar
    assert "photo/s" in bar
    assert "errors=0" in bar


def test_a_finished_run_gains_formats_without_a_cluster(photos: Path, tmp_path: Path) -> None:
    (photos / "0/00.jpg").write_bytes(b"no photo")
    output = tmp_path / "out"

    def annotated(*options: str) -> subprocess.CompletedProcess[str]:
        command = [COMMAND, "annotate", photos, "--output", output, "--input-size", "320", *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=180)

    assert annotated().returncode == 0
    # nothing listens there
    nowhere = ("--address", "127.0.0.1:9")
    again = annotated("--format", "yolo", *nowhere)
    assert again.returncode == 0, again.stderr
    assert len(list((output / "yolo/labels").rglob("*.txt"))) == 39
    assert (output / "_SUCCESS").exists()
    assert "nothing answers" in annotated("--retry-errors", *nowhere).stderr


LISTENERS = """
import os
from featherface_batch.cluster import ray_session
with ray_session(None, 1):
    import psutil, ray
    @ray.remote
    def work():
        return os.getpid()
    ray.get(work.remote())
    family = {os.getpid(), *(process.pid for process in psutil.Process().children(recursive=True))}
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.pid in family:
            print(connection.laddr.ip)
print(os.environ.get("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"))
"""


def test_the_embedded_ray_listens_on_loopback_only() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    ended = subprocess.run(
        [sys.executable, "-c", LISTENERS], env=environment, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    *addresses, left = ended.stdout.split()
    assert len(addresses) >= 4, ended.stderr
    assert {address.removeprefix("::ffff:") for address in addresses} == {"127.0.0.1"}
    # what this process starts later is none of its business
    assert left == "None"
