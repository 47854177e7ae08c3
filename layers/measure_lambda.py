"""Measure the built layer with Lambda's real runtime client under the runtime interface emulator.

    python layers/measure_lambda.py --python PYTHON3.13 --emulator RIE --layer build/layer/x86_64/python

PYTHON3.13 is an interpreter of the runtime's version with ``awslambdaric`` and ``boto3``; the emulator ships
inside of the wheel of ``aws-sam-cli``. Every figure is set beside one of the same run, taken in turns.
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
from featherface.packages import load_manifest
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
model = load_manifest().package("nano").file("fp32").path.read_bytes()
SESSION = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

def lambda_handler(event, context):
    return {"statusCode": 200, "body": "{}"}
"""


def event() -> bytes:
    """Return a REST API's request with a photo."""
    request: dict[str, Any] = {
        "path": "/v1/detect",
        "httpMethod": "POST",
        "headers": {"Content-Type": "image/jpeg"},
        "multiValueHeaders": {"Content-Type": ["image/jpeg"]},
        "queryStringParameters": None,
        "requestContext": {"path": "/live/v1/detect", "stage": "live", "requestId": "measure"},
        "body": base64.b64encode(PHOTO.read_bytes()).decode(),
        "isBase64Encoded": True,
    }
    return json.dumps(request).encode()


@contextlib.contextmanager
def function(
    options: argparse.Namespace, handler: str, folder: Path, log: Path, **extra: str
) -> Iterator[str]:
    """Run a function under the emulator and give the address to invoke it at."""
    ports = []
    for _ in range(2):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            ports.append(free.getsockname()[1])
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{options.layer.resolve()}:{folder}",
        "LAMBDA_TASK_ROOT": str(folder),
        "AWS_LAMBDA_FUNCTION_NAME": "measured",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769",
        "AWS_LAMBDA_FUNCTION_TIMEOUT": "60",
        "AWS_REGION": "us-east-1",
        "FEATHERFACE_THREADS": "1",
        **extra,
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
        handler,
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


def invoke(url: str, body: bytes) -> tuple[dict[str, Any], float]:
    """Return a function's answer and the milliseconds that it took."""
    start = time.perf_counter()
    with urllib.request.urlopen(urllib.request.Request(url, body, method="POST"), timeout=60) as answer:
        content = json.loads(answer.read())
    return content, 1e3 * (time.perf_counter() - start)


def memory_mb(log: Path) -> float:
    """Return the peak of memory that the function itself reports with each photo."""
    found = re.findall(r'"MemoryUsed":\s*\[([\d.]+)\]', log.read_text(errors="replace"))
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
    paths = [str(options.layer.resolve()), str(ROOT / "functions")]
    code = _HANDLER.format(paths=paths, requests=5 * options.requests)
    environ = {"PATH": os.environ["PATH"], "FEATHERFACE_THREADS": "1"}
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
    parser.add_argument("--layer", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=20)
    options = parser.parse_args()
    starts: dict[str, list[float]] = {"empty": [], "bare": [], "detect": []}
    peaks = []
    with tempfile.TemporaryDirectory() as temporary:
        folder, log = Path(temporary, "functions"), Path(temporary, "log")
        folder.mkdir()
        (folder / "empty.py").write_text(_EMPTY)
        (folder / "bare.py").write_text(_BARE)
        for _ in range(options.rounds):
            for name in ("empty", "bare"):
                with function(options, f"{name}.lambda_handler", folder, log) as url:
                    first, again = invoke(url, b"{}")[1], invoke(url, b"{}")[1]
                    starts[name].append(first - again)
            with function(options, "detect.handler.lambda_handler", ROOT / "functions", log) as url:
                first, walls = invoke(url, event())[1], []
                for _ in range(options.requests):
                    walls.append(invoke(url, event())[1])
                starts["detect"].append(first - statistics.median(walls))
            peaks.append(memory_mb(log))
        edge = {
            "FEATHERFACE_PROFILE": "edge_device",
            "FEATHERFACE_PRECISION": options_precision(options.layer),
        }
        with function(options, "detect.handler.lambda_handler", ROOT / "functions", log, **edge) as url:
            for _ in range(3):
                invoke(url, event())
        edge_peak = memory_mb(log)
    code = "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    interpreter = float(subprocess.check_output([str(options.python), "-I", "-c", code]))
    empty, bare, detect = (statistics.median(starts[name]) for name in ("empty", "bare", "detect"))
    overhead, inference = handler_overhead(options)
    peak = max(peaks)
    print(f"start to first answer: empty {empty:.0f} ms, bare {bare:.0f} ms, detect {detect:.0f} ms")
    print(f"init over an empty function's: {(detect - empty) / (bare - empty):.2f} x bare (budget 1.25)")
    print(
        f"warm handler: {overhead:.1f} ms beside {inference:.1f} ms of inference, {overhead / inference:.0%}"
    )
    print(f"peak memory at 640: {peak:.0f} MB, {peak - interpreter:.0f} over the interpreter (budget 140)")
    print(f"peak memory of the edge profile: {edge_peak:.0f} MB (budget 256)")
    return 0


def options_precision(layer: Path) -> str:
    """Return int8, which the edge profile wants, if the layer's Nano has such a file."""
    manifest = json.loads((layer / "featherface/models/manifest.json").read_text())
    return "int8" if "int8" in manifest["models"]["nano"]["files"] else "fp32"


if __name__ == "__main__":
    raise SystemExit(main())
