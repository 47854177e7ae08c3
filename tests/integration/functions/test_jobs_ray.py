"""Jobs on a Ray cluster, as far as its job server's REST interface goes.

The server here answers as `ray job` does (paths, members and states of Ray's documentation), over real HTTP.
"""

from __future__ import annotations

import json
import shlex
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from jobs.backends import RayJobs, backend_from_environment
from shared.errors import StorageDeniedError, StorageUnavailableError

TOKEN = "a-token"


@dataclass
class JobServer:
    """What the server knows."""

    address: str = ""
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    broken: bool = False
    token: str = TOKEN

    def answer(self, method: str, path: str, token: str, body: bytes) -> tuple[int, Any]:
        if self.broken:
            return 500, "no JSON" if method == "GET" else {}
        if token != f"Bearer {self.token}":
            return 401, {}
        if (method, path) == ("POST", "/api/jobs/"):
            job = json.loads(body)
            if job["submission_id"] in self.jobs:
                return 500, {}
            self.jobs[job["submission_id"]] = {**job, "status": "PENDING"}
            return 200, {"job_id": job["submission_id"], "submission_id": job["submission_id"]}
        name, _, verb = path.removeprefix("/api/jobs/").partition("/")
        if name not in self.jobs:
            return 404, {}
        if (method, verb) == ("POST", "stop"):
            self.jobs[name]["status"] = "STOPPED"
            return 200, {"stopped": True}
        return 200, self.jobs[name]


@pytest.fixture
def server() -> Iterator[JobServer]:
    known = JobServer()

    class Handler(BaseHTTPRequestHandler):
        def _respond(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            token = self.headers.get("Authorization", "")
            status, content = known.answer(self.command, self.path, token, body)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        do_GET = do_POST = _respond

        def log_message(self, format: str, *args: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    known.address = f"http://127.0.0.1:{http.server_port}"
    yield known
    http.shutdown()
    http.server_close()
    thread.join()


@pytest.fixture
def ray(server: JobServer) -> RayJobs:
    return RayJobs(server.address, TOKEN)


def test_a_job_is_submitted_found_shown_and_stopped(ray: RayJobs, server: JobServer) -> None:
    command = ["featherface", "annotate", "s3://photos/it's; $(a)", "--output", "s3://results/jobs/1"]
    assert ray.find("1") is None
    backend_id = ray.submit("1", command)
    # what a shell makes of the entrypoint is the command, whatever a photo's prefix contains
    assert shlex.split(server.jobs[backend_id]["entrypoint"]) == [*command, "--address", "auto"]
    assert ray.find("1") == backend_id
    for status, state in (("PENDING", "queued"), ("RUNNING", "running"), ("SUCCEEDED", "succeeded")):
        server.jobs[backend_id]["status"] = status
        assert ray.state(backend_id) == state
    ray.stop(backend_id)
    assert ray.state(backend_id) == "cancelled"


def test_a_cluster_made_anew_remembers_no_job(ray: RayJobs, server: JobServer) -> None:
    backend_id = ray.submit("1", ["featherface"])
    server.jobs.clear()
    assert ray.state(backend_id) is None
    ray.stop(backend_id)


def test_a_wrong_token_is_no_fault_of_the_caller(server: JobServer) -> None:
    with pytest.raises(StorageDeniedError, match="token"):
        RayJobs(server.address, "another").submit("1", ["featherface"])
    assert not server.jobs


def test_a_token_that_was_replaced_is_read_anew(
    server: JobServer, aws: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets, name = aws("secretsmanager"), f"ray-token-{uuid.uuid4().hex}"
    secrets.create_secret(Name=name, SecretString=TOKEN)
    monkeypatch.setenv("RAY_JOBS_ADDRESS", server.address)
    monkeypatch.setenv("RAY_TOKEN_SECRET", name)
    backend_from_environment.cache_clear()
    try:
        backend = backend_from_environment()
        backend_id = backend.submit("1", ["featherface"])
        server.token = "the-next-token"
        # the cluster has another token than the secret: nobody's call gets through, and none for ever
        with pytest.raises(StorageDeniedError, match="token"):
            backend.state(backend_id)
        secrets.put_secret_value(SecretId=name, SecretString=server.token)
        assert backend.state(backend_id) == "queued"
        assert backend.submit("2", ["featherface"])
    finally:
        backend_from_environment.cache_clear()
    assert len(server.jobs) == 2


def test_a_server_that_is_broken_or_gone_may_be_back_later(ray: RayJobs, server: JobServer) -> None:
    server.broken = True
    for call in (lambda: ray.submit("1", ["x"]), lambda: ray.state("1"), lambda: ray.find("1")):
        with pytest.raises(StorageUnavailableError):
            call()
    with pytest.raises(StorageUnavailableError, match="reached"):
        RayJobs("http://127.0.0.1:9", TOKEN).state("1")
