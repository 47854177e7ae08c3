"""A job from the API's request to its last file, on a real Ray cluster with its job server."""

from __future__ import annotations

import importlib
import json
import os
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from examples.demo.ports import reserved_port
from gateway_events import rest_event
from template_tables import template_table

from jobs.backends import RayJobs
from shared.errors import StorageDeniedError

PHOTOS, RESULTS = "photos-of-the-tests", "results-of-the-tests"
TABLE = "cluster-jobs-of-the-tests"
SECRET = "token-of-the-tests"
TOKEN = secrets.token_hex(32)
_START_SECONDS = 300
_JOB_SECONDS = 600


def _ready(address: str) -> bool:
    request = urllib.request.Request(f"{address}/api/jobs/", headers={"Authorization": f"Bearer {TOKEN}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.fixture(scope="module")
def cluster(environ: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The head of a cluster, on loopback, and its dashboard's address."""
    own, port, agent = (reserved_port() for _ in range(3))
    environment = {
        **os.environ,
        **environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": TOKEN,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_memory_monitor_refresh_ms": "0",
        # its workers are polite by default, and would take ten times as long beside any other program
        "RAY_worker_niceness": "0",
    }
    command = [
        *(str(Path(sys.executable).parent / "ray"), "start", "--head", "--block"),
        *(f"--port={own}", "--num-cpus=3", f"--object-store-memory={80 * 2**20}"),
        *("--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--dashboard-port={port}"),
        # the embedded Ray of another module's tests may hold the usual port: then the job server answers
        # and can start nothing
        f"--dashboard-agent-listen-port={agent}",
        # the paths of its sockets must be short
        f"--temp-dir=/tmp/ff-{os.getpid()}",
    ]
    log = tmp_path_factory.mktemp("cluster") / "log"
    with log.open("wb") as file:
        head = subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)
    try:
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + _START_SECONDS
        while not _ready(address):
            assert head.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.5)
        yield address
    finally:
        family = psutil.Process(head.pid).children(recursive=True) if head.poll() is None else []
        head.terminate()
        _, alive = psutil.wait_procs(family, timeout=20)
        for process in alive:
            # it may leave this very moment
            with suppress(psutil.NoSuchProcess):
                process.kill()
        head.wait()


@pytest.fixture(scope="module")
def jobs(cluster: str, deployed: None, aws: Callable[[str], Any]) -> Iterator[Any]:
    from jobs import backends

    aws("dynamodb").create_table(TableName=TABLE, **template_table("JobsTable"))
    aws("secretsmanager").create_secret(Name=SECRET, SecretString=TOKEN)
    changed = {"RAY_JOBS_ADDRESS": cluster, "RAY_TOKEN_SECRET": SECRET, "JOBS_TABLE": TABLE}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in changed.items():
            patch.setenv(name, value)
        # another module's tests may have imported it for another backend and table
        patch.delitem(sys.modules, "jobs.handler", raising=False)
        backends.backend_from_environment.cache_clear()
        yield importlib.import_module("jobs.handler").lambda_handler
        sys.modules.pop("jobs.handler")
    backends.backend_from_environment.cache_clear()


def test_a_request_becomes_a_finished_run(
    jobs: Callable[..., dict[str, Any]], context: Any, s3: Any, jpeg: Callable[[int], bytes]
) -> None:
    def call(method: str, path: str, **request: Any) -> tuple[int, dict[str, Any]]:
        answer = jobs(rest_event(method, path, **request), context)
        return answer["statusCode"], json.loads(answer["body"] or "{}")

    for number in range(40):
        s3.put_object(Bucket=PHOTOS, Key=f"cluster set/{number:02d}.jpg", Body=jpeg(number))
    s3.put_object(Bucket=PHOTOS, Key="cluster set/broken.jpg", Body=b"no photo")
    request = {"source": f"s3://{PHOTOS}/cluster set", "formats": ["jsonl", "coco"]}
    deadline = time.monotonic() + _JOB_SECONDS
    # A server that takes its time may have the job or not: the same key again is the same job.
    headers = {"Idempotency-Key": secrets.token_hex(8)}
    while (posted := call("POST", "/v1/jobs", json_body=request, headers=headers))[0] == 503:
        assert time.monotonic() < deadline, posted
    status, made = posted
    assert status == 202, made
    states = []
    shown: dict[str, Any] = {}
    while shown.get("state") not in ("succeeded", "failed"):
        assert time.monotonic() < deadline, shown
        time.sleep(1)
        shown = call("GET", f"/v1/jobs/{made['id']}")[1]
        states.append(shown.get("state"))
    assert shown["state"] == "succeeded", shown
    # a busy server may have no answer at times
    assert set(states) <= {"queued", "running", "succeeded", None}
    progress = shown["progress"]
    assert progress["state"] == "complete"
    assert (progress["photos"], progress["done"], progress["errors"]) == (41, 41, 1)
    output = made["output"].removeprefix(f"s3://{RESULTS}/")
    marker = json.loads(s3.get_object(Bucket=RESULTS, Key=f"{output}/_SUCCESS")["Body"].read())
    assert (marker["photos"], marker["errors"]) == (41, 1)
    coco = json.loads(s3.get_object(Bucket=RESULTS, Key=f"{output}/coco.json")["Body"].read())
    assert len(coco["images"]) == 40

    # a run with other options is not what the output holds: the command says so before it writes a word
    other = {**request, "output": made["output"], "options": {"mirror": True}}
    while (posted := call("POST", "/v1/jobs", json_body=other))[0] == 503:
        assert time.monotonic() < deadline, posted
    while (shown := call("GET", f"/v1/jobs/{posted[1]['id']}")[1]).get("state") != "failed":
        assert time.monotonic() < deadline, shown
        time.sleep(1)
    assert shown["failure"]["code"] == "output_mismatch"
    assert shown["failure"]["message"].startswith(f"{made['output']} holds a run that differs in mirror")


def test_a_wrong_token_is_refused(cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # on a busy machine the server may take its time, and no answer is another error
    monkeypatch.setattr("jobs.backends._TIMEOUT_SECONDS", 120)
    with pytest.raises(StorageDeniedError, match="token"):
        RayJobs(cluster, secrets.token_hex(32)).submit("1", ["featherface"])
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{cluster}/api/jobs/", timeout=120)
    assert refused.value.code == 401
