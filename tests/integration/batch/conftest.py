import io
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
from moto.server import ThreadedMotoServer
from PIL import Image
from werkzeug.serving import make_server

# The workers of the embedded Ray import the fakes by name, as they would import a user's module.
sys.path.insert(0, str(Path(__file__).parent))
# Ray's workers are polite by default: beside any other program the tests would take ten times as long.
os.environ.setdefault("RAY_worker_niceness", "0")
os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])

COMMAND = str(Path(sys.executable).parent / "featherface")
_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@pytest.fixture(scope="session", autouse=True)
def credentials() -> Iterator[None]:
    """Workers inherit the environment of the Ray that starts them, so this comes before Ray."""
    before = {name: os.environ.get(name) for name in _CREDENTIALS}
    os.environ.update(_CREDENTIALS)
    yield
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value


@pytest.fixture(scope="session")
def ray_cluster(credentials: None) -> Iterator[None]:
    """One embedded Ray for all tests: it takes seconds to start, and jobs don't see each other."""
    from featherface_batch.cluster import ray_session

    with ray_session(None, 2):
        yield


@pytest.fixture(scope="session")
def s3_endpoint(credentials: None) -> Iterator[str]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_endpoint: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    client = boto3.client("s3", endpoint_url=s3_endpoint)
    # moto's servers of one process share their state: what other tests keep there is theirs
    others = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
    yield client
    for bucket in client.list_buckets()["Buckets"]:
        if bucket["Name"] in others:
            continue
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket["Name"])
        for entry in (entry for page in pages for entry in page.get("Contents", ())):
            client.delete_object(Bucket=bucket["Name"], Key=entry["Key"])
        client.delete_bucket(Bucket=bucket["Name"])


@contextmanager
def serving(application: Any) -> Iterator[str]:
    """Serve a WSGI application on loopback; gives its address."""
    server = make_server("127.0.0.1", 0, application, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def seaweed() -> Iterator[Any]:
    """The administrator's client of a server that enforces policies."""
    from examples.demo.servers import CREDENTIALS, seaweedfs

    with seaweedfs() as endpoint:
        yield boto3.client(
            "s3",
            endpoint_url=endpoint,
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            region_name="us-east-1",
        )


def jpeg(seed: int, width: int = 96, height: int = 64) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((width, height)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of 40 photos: more than one shard."""
    folder = tmp_path / "photos"
    for number in range(40):
        path = folder / f"{number % 3}" / f"{number:02d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(number))
    return folder


def cluster_environment(log: Path) -> dict[str, str]:
    """Return the environment of a script that makes a cluster by hand, with the log of its finders."""
    return {
        **os.environ,
        "FINDER_LOG": str(log),
        "RAY_memory_monitor_refresh_ms": "0",
        # this cluster has no token, unlike the tests' embedded Ray
        "RAY_AUTH_MODE": "disabled",
    }


@dataclass(frozen=True)
class Annotated:
    """What a script on a cluster of its own has left: output, what it printed, lines of its finders."""

    output: Path
    stdout: str
    log: list[list[str]]

    @property
    def keys(self) -> list[str]:
        lines = (self.output / "annotations.jsonl").read_text().splitlines()
        return [json.loads(line)["key"] for line in lines]


@pytest.fixture
def on_a_cluster(tmp_path: Path) -> Callable[[str, int], Annotated]:
    """Run a script that makes a cluster by hand, with a folder of so many photos and an output's folder.

    In a process of its own: the tests' shared Ray is another one.
    """

    def run(script: str, count: int) -> Annotated:
        folder, output, log = tmp_path / "small photos", tmp_path / "out", tmp_path / "log"
        folder.mkdir()
        for number in range(count):
            (folder / f"{number:03d}.jpg").write_bytes(jpeg(number, 48, 48))
        command = [sys.executable, "-c", script, str(folder), str(output)]
        ended = subprocess.run(
            command, env=cluster_environment(log), capture_output=True, text=True, timeout=600
        )
        assert ended.returncode == 0, ended.stderr[-3000:]
        return Annotated(output, ended.stdout, [line.split() for line in log.read_text().splitlines()])

    return run
