"""A function as Lambda runs it: the runtime client under the runtime interface emulator, on a built layer.

`Setup` says where things are. The emulator ships inside of the wheel of ``aws-sam-cli``
(``samcli/local/rapid/aws-lambda-rie-*``), the runtime client is ``awslambdaric``.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from examples.demo.ports import reserved_port

__all__ = [
    "PHOTO",
    "ROOT",
    "VARIABLES",
    "Setup",
    "function",
    "init_ms",
    "invocations_ms",
    "invoke",
    "json_event",
    "memory_mb",
    "photo_event",
]

ROOT: Final = Path(__file__).parents[1]
PHOTO: Final = ROOT / "examples/photos/group.jpg"
_START_SECONDS: Final = 60.0

VARIABLES: Final[Mapping[str, str]] = {
    # as template.yaml sets them; a test compares
    "MALLOC_MMAP_THRESHOLD_": "16777216",
    "MALLOC_TRIM_THRESHOLD_": "67108864",
    # as in Lambda, where code lies on a file system that cannot be written
    "PYTHONDONTWRITEBYTECODE": "1",
    # one vCPU
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769",
    "FEATHERFACE_THREADS": "1",
    "AWS_LAMBDA_FUNCTION_NAME": "measured",
    "AWS_LAMBDA_FUNCTION_TIMEOUT": "60",
    "AWS_LAMBDA_LOG_FORMAT": "JSON",
    "AWS_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "PHOTOS_BUCKET": "photos",
    "RESULTS_BUCKET": "results",
    "INDEX_TABLE": "index",
    "IDEMPOTENCY_TABLE": "idempotency",
}
"""The environment of a measured function, but for its profile and its paths."""


class Setup(NamedTuple):
    """Where the parts are.

    Parameters
    ----------
    python : Path
        An interpreter of the runtime's version with ``awslambdaric`` and ``boto3``.
    emulator : Path
        The runtime interface emulator.
    build : Path
        What ``make layer`` wrote.
    """

    python: Path
    emulator: Path
    build: Path

    @property
    def layer(self) -> Path:
        """The folder that this machine's layer puts on the path."""
        machine = os.uname().machine.replace("aarch64", "arm64")
        return (self.build / "layer" / machine / "python").resolve()

    @property
    def functions(self) -> Path:
        """The functions' code."""
        return (self.build / "functions").resolve()

    def environ(self, *folders: Path, profile: str = "production", **more: str) -> dict[str, str]:
        """Return a function's environment with these folders behind the layer on the path."""
        path = ":".join(map(str, (self.layer, *folders)))
        return {
            "PATH": os.environ["PATH"],
            **VARIABLES,
            "PYTHONPATH": path,
            "FEATHERFACE_PROFILE": profile,
            **more,
        }


@contextlib.contextmanager
def function(setup: Setup, module: str, log: Path, environ: Mapping[str, str]) -> Iterator[str]:
    """Run a function under the emulator and give the address to invoke it at.

    Parameters
    ----------
    setup : Setup
    module : str
        Its ``lambda_handler`` is the function.
    log : Path
        A new file, for what the function and the emulator write.
    environ : mapping
        `Setup.environ`.

    Raises
    ------
    RuntimeError
        The emulator does not start.
    """
    ports = [reserved_port() for _ in range(2)]
    addresses = ("--runtime-interface-emulator-address", f"127.0.0.1:{ports[0]}")
    addresses += ("--runtime-api-address", f"127.0.0.1:{ports[1]}")
    client = (str(setup.python), "-m", "awslambdaric", f"{module}.lambda_handler")
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(setup.emulator), *addresses, *client],
            env={**environ, "LAMBDA_TASK_ROOT": str(setup.functions)},
            cwd=setup.functions,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _wait(process, log, ports[0])
            yield f"http://127.0.0.1:{ports[0]}/2015-03-31/functions/function/invocations"
        finally:
            # what has ended by itself has no group any more
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def _wait(process: subprocess.Popen[bytes], log: Path, port: int) -> None:
    """Wait until the emulator listens; raises RuntimeError if it ends, or takes too long."""
    deadline = time.monotonic() + _START_SECONDS
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the emulator does not listen; its last words: {log.read_text()[-600:]}")
        time.sleep(0.05)


def invoke(url: str, body: bytes) -> dict[str, Any]:
    """Invoke a function and return its answer."""
    with urllib.request.urlopen(urllib.request.Request(url, body, method="POST"), timeout=60) as answer:
        content: dict[str, Any] = json.loads(answer.read())
    return content


def photo_event(photo: bytes) -> dict[str, Any]:
    """Return a REST API's request with a photo as its body."""
    return _event("image/jpeg", base64.b64encode(photo).decode(), is_base64=True)


def json_event(members: Mapping[str, Any]) -> dict[str, Any]:
    """Return a REST API's request with a JSON body."""
    return _event("application/json", json.dumps(members), is_base64=False)


def _event(content_type: str, body: str, *, is_base64: bool) -> dict[str, Any]:
    return {
        "path": "/v1/detect",
        "httpMethod": "POST",
        "headers": {"Content-Type": content_type},
        "queryStringParameters": None,
        "requestContext": {"path": "/live/v1/detect", "stage": "live", "requestId": "measure"},
        "body": body,
        "isBase64Encoded": is_base64,
    }


def init_ms(log: Path) -> float:
    """Return the time of init as the emulator reports it."""
    (found,) = re.findall(r"INIT REPORT\(durationMs: ([\d.]+)\)", log.read_text(errors="replace"))
    return float(found)


def invocations_ms(log: Path) -> list[float]:
    """Return the times of all invocations as the emulator reports them, without init."""
    found = re.findall(r"INVOKE RTDONE\(.*?duration: ([\d.]+)ms\)", log.read_text(errors="replace"))
    return list(map(float, found))


def memory_mb(log: Path) -> float:
    """Return the peak of memory that the function itself reports with each photo."""
    found = re.findall(r'"memory_used_mb":\s*\[([\d.]+)\]', log.read_text(errors="replace"))
    return max(map(float, found))
