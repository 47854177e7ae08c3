"""Measure what ``make layer`` built with Lambda's real runtime client under the runtime interface emulator.

    python layers/measure_lambda.py --python PYTHON3.13 --emulator RIE --build build

PYTHON3.13 is an interpreter of the runtime's version with ``awslambdaric`` and ``boto3``; the emulator ships
inside of the wheel of ``aws-sam-cli``. An init is what the emulator reports for it: from the start of the
process to the request for the first event. Every figure is set beside those of the same run, taken in turns:

empty
    A handler that imports nothing.
bare
    ``import numpy, onnxruntime, PIL.Image`` and one session of the same model, its file neither hashed nor
    looked at. It runs in the same environment, from the same layer, compiled like everything else.
detect
    The API's function as the template sets it up.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PHOTO = ROOT / "examples/photos/group.jpg"

_EMPTY = """
def lambda_handler(event, context):
    return {"statusCode": 200, "body": "{}"}
"""

_BARE = """
import numpy, onnxruntime, PIL.Image
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
SESSION = onnxruntime.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])

def lambda_handler(event, context):
    return {"statusCode": 200, "body": "{}"}
"""
_MODEL = "featherface/models/nano_efficient/featherface_nano.onnx"


def event() -> bytes:
    """Return a REST API's request with a photo."""
    request: dict[str, Any] = {
        "path": "/v1/detect",
        "httpMethod": "POST",
        "headers": {"Content-Type": "image/jpeg"},
        "queryStringParameters": None,
        "requestContext": {"path": "/live/v1/detect", "stage": "live", "requestId": "measure"},
        "body": base64.b64encode(PHOTO.read_bytes()).decode(),
        "isBase64Encoded": True,
    }
    return json.dumps(request).encode()


@contextlib.contextmanager
def function(
    options: argparse.Namespace, module: str, folder: Path, log: Path, profile: str
) -> Iterator[str]:
    """Run a function under the emulator and give the address to invoke it at."""
    ports = []
    for _ in range(2):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            ports.append(free.getsockname()[1])
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{layer(options)}:{folder}",
        # as in Lambda, where code lies on a file system that cannot be written
        "PYTHONDONTWRITEBYTECODE": "1",
        "LAMBDA_TASK_ROOT": str(folder),
        "AWS_LAMBDA_FUNCTION_NAME": "measured",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769",
        "AWS_LAMBDA_FUNCTION_TIMEOUT": "60",
        "AWS_LAMBDA_LOG_FORMAT": "JSON",
        "AWS_REGION": "us-east-1",
        "FEATHERFACE_PROFILE": profile,
        "FEATHERFACE_THREADS": "1",
    }
    command = [
        str(options.emulator),
        "--runtime-interface-emulator-address",
        f"127.0.0.1:{ports[0]}",
        "--runtime-api-address",
        f"127.0.0.1:{ports[1]}",
        str(options.python),
        "-m",
        "awslambdaric",
        f"{module}.lambda_handler",
    ]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, env=environ, stdout=out, stderr=subprocess.STDOUT, cwd=folder, start_new_session=True
        )
        try:
            for _ in range(100):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", ports[0]), 1):
                    break
                time.sleep(0.05)
            yield f"http://127.0.0.1:{ports[0]}/2015-03-31/functions/function/invocations"
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def layer(options: argparse.Namespace) -> Path:
    """Return the folder that the layer puts on the path."""
    machine = os.uname().machine.replace("aarch64", "arm64")
    folder: Path = (options.build / "layer" / machine / "python").resolve()
    return folder


def invoke(url: str, body: bytes, status: int = 200) -> dict[str, Any]:
    """Invoke a function and return its answer; raises RuntimeError unless it has the status."""
    with urllib.request.urlopen(urllib.request.Request(url, body, method="POST"), timeout=60) as answer:
        content: dict[str, Any] = json.loads(answer.read())
    if content.get("statusCode") != status:
        raise RuntimeError(f"the function answered {content}")
    return content


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


_HANDLER = """
import contextlib, io, json, statistics, sys, time
sys.path[:0] = {paths!r}
from detect.handler import lambda_handler

class Context:
    function_name, memory_limit_in_mb, aws_request_id = "measured", 1769, "1"
    invoked_function_arn = "arn:aws:lambda:us-east-1:000000000000:function:measured"

event, shares = json.loads(sys.stdin.read()), []
with contextlib.redirect_stdout(io.StringIO()):
    for _ in range({requests} + 3):
        start = time.perf_counter()
        answer = lambda_handler(event, Context())
        wall = 1e3 * (time.perf_counter() - start)
        timings = json.loads(answer["body"])["timings"]
        shares.append((wall - timings["total_ms"], timings["inference_ms"]))
print(*(statistics.median(values) for values in zip(*shares[3:])))
"""


def handler_overhead(options: argparse.Namespace) -> tuple[float, float]:
    """Return what the handler takes beside decoding and inference, and the inference, in milliseconds."""
    paths = [str(layer(options)), str(options.build.resolve() / "functions")]
    code = _HANDLER.format(paths=paths, requests=5 * options.requests)
    environ = {"PATH": os.environ["PATH"], "FEATHERFACE_THREADS": "1", "FEATHERFACE_PROFILE": "production"}
    found = subprocess.run(
        [str(options.python), "-c", code], input=event(), env=environ, capture_output=True, check=True
    )
    overhead, inference = map(float, found.stdout.split())
    return overhead, inference


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--python", type=Path, required=True)
    parser.add_argument("--emulator", type=Path, required=True)
    parser.add_argument("--build", type=Path, default=ROOT / "build", help="what make layer wrote")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--requests", type=int, default=10)
    options = parser.parse_args()
    inits: dict[str, list[float]] = {"empty": [], "bare": [], "detect": []}
    peaks, first, warm = [], [], []
    with tempfile.TemporaryDirectory() as temporary:
        folder, log = Path(temporary, "functions"), Path(temporary, "log")
        folder.mkdir()
        (folder / "empty.py").write_text(_EMPTY)
        (folder / "bare.py").write_text(_BARE.replace("MODEL", repr(str(layer(options) / _MODEL))))
        subprocess.run([str(options.python), "-m", "compileall", "-q", str(folder)], check=True)
        functions = options.build.resolve() / "functions"
        for _ in range(options.rounds):
            for name in ("empty", "bare"):
                with function(options, name, folder, log, "production") as url:
                    invoke(url, b"{}")
                inits[name].append(init_ms(log))
            with function(options, "detect.handler", functions, log, "production") as url:
                for _ in range(1 + options.requests):
                    invoke(url, event())
            inits["detect"].append(init_ms(log))
            peaks.append(memory_mb(log))
            cold, *rest = invocations_ms(log)
            first.append(cold)
            warm += rest
        with function(options, "detect.handler", functions, log, "edge_device") as url:
            for _ in range(3):
                invoke(url, event())
        edge_peak = memory_mb(log)
    code = "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6)"
    interpreter = float(subprocess.check_output([str(options.python), "-I", "-c", code]))
    empty, bare, detect = (statistics.median(inits[name]) for name in ("empty", "bare", "detect"))
    overhead, inference = handler_overhead(options)
    peak = max(peaks)
    print(f"on {len(os.sched_getaffinity(0))} cores, medians of {options.rounds} rounds in turns")
    print(f"init: empty {empty:.0f} ms, bare {bare:.0f} ms, detect {detect:.0f} ms")
    print(
        f"init beside bare: {detect / bare:.2f} x; both over the empty function's "
        f"{(detect - empty) / (bare - empty):.2f} x (budget 1.25)"
    )
    print(
        f"first request: {statistics.median(first):.0f} ms, "
        f"{statistics.median(first) - statistics.median(warm):.0f} more than later ones"
    )
    print(
        f"warm handler: {overhead:.1f} ms beside {inference:.1f} ms of inference, {overhead / inference:.0%} "
        "(budget 10%)"
    )
    print(
        f"peak memory of Nano at 640: {peak:.0f} MB, {peak - interpreter:.0f} over bare Python (budget 140)"
    )
    print(f"peak memory of the edge profile (Nano int8 at 416): {edge_peak:.0f} MB (budget 256)")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
