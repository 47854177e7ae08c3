"""What the API's handler adds to decoding and inference, warm."""

from __future__ import annotations

import base64
import json
import statistics
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from layers.emulator import PHOTO, VARIABLES, Setup, json_event, photo_event
from layers.measurements import cloud
from layers.measurements.spread import beside, spread

__all__ = ["measure"]

# In one process and without a client over HTTP: it is the handler that is measured, from event to response.
_PROBE = """
import contextlib, io, json, sys, time
import detect.service
from detect.handler import lambda_handler

class Context:
    function_name, memory_limit_in_mb, aws_request_id = "measured", 1769, "1"
    invoked_function_arn = "arn:aws:lambda:us-east-1:000000000000:function:measured"

fetch, fetching = detect.service.fetch, [0.0]

def timed(*arguments):
    start = time.perf_counter()
    try:
        return fetch(*arguments)
    finally:
        fetching[0] = 1e3 * (time.perf_counter() - start)

detect.service.fetch = timed
events = json.load(sys.stdin)
taken = {name: [] for name in events}
with contextlib.redirect_stdout(io.StringIO()):
    for _ in range(ROUNDS + 3):
        for name, event in events.items():
            fetching[0] = 0.0
            start = time.perf_counter()
            answer = lambda_handler(event, Context())
            wall = 1e3 * (time.perf_counter() - start)
            timings = json.loads(answer["body"])["timings"]
            taken[name].append((wall - timings["total_ms"] - fetching[0], timings["inference_ms"], wall))
print(json.dumps({name: values[3:] for name, values in taken.items()}))
"""
_TURNS = 5
_BUDGET = "0.10 of inference"


def measure(setup: Setup, folder: Path, rounds: int) -> None:
    """Measure in turns and print."""
    photo = PHOTO.read_bytes()
    with cloud.served() as url:
        cloud.upload(url, "photo.jpg", photo)
        place = {"bucket": VARIABLES["PHOTOS_BUCKET"], "key": "photo.jpg"}
        events = {
            "the photo's bytes": photo_event(photo),
            "base64 in JSON": json_event({"image": base64.b64encode(photo).decode()}),
            "a photo in S3": json_event({"s3": place}),
        }
        environ = setup.environ(setup.functions, AWS_ENDPOINT_URL=url)
        plain = {name: value for name, value in environ.items() if not name.startswith("MALLOC_")}
        taken: dict[str, list[list[float]]] = {name: [] for name in events}
        ratios = []
        for _ in range(_TURNS):
            with_pages, without = (_probe(setup, folder, events, each, rounds) for each in (environ, plain))
            for name in events:
                taken[name] += with_pages[name]
            ratios.append(_whole(without) / _whole(with_pages))
    requests = len(taken["a photo in S3"])
    print(f"warm handler less decoding, inference, fetching; {requests} requests of each, budget {_BUDGET}")
    for name, values in taken.items():
        overhead, inference, _ = zip(*values, strict=True)
        print(
            f"  {name:20s} {spread(overhead, 1)} ms beside {spread(inference, 1)} ms of inference: "
            f"{beside(overhead, inference)}"
        )
    print(
        f"a whole request without the template's MALLOC_*: {spread(ratios, 2)} x, {_TURNS} pairs of processes"
    )


def _whole(taken: Mapping[str, list[list[float]]]) -> float:
    return statistics.median(wall for _, _, wall in taken["the photo's bytes"])


def _probe(
    setup: Setup, folder: Path, events: Mapping[str, Any], environ: Mapping[str, str], rounds: int
) -> dict[str, list[list[float]]]:
    done = subprocess.run(
        [str(setup.python), "-c", _PROBE.replace("ROUNDS", str(rounds))],
        input=json.dumps(events).encode(),
        env=environ,
        cwd=folder,
        stdout=subprocess.PIPE,
        check=True,
    )
    found: dict[str, list[list[float]]] = json.loads(done.stdout)
    return found
