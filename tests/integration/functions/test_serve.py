from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

from featherface import Detector, load_settings

ROOT = Path(__file__).parents[3]


def test_a_developer_s_server_answers_and_describes_itself(sample: Callable[[str], bytes]) -> None:
    environ = {**os.environ, "FEATHERFACE_INPUT_SIZE": "320", "FEATHERFACE_CONFIDENCE_THRESHOLD": "0.0"}
    environ["FEATHERFACE_MAX_DETECTIONS"] = "3"
    command = [sys.executable, "-m", "examples.serve", "--port", "0"]
    process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split("/docs")[0]
        assert url.startswith("http://127.0.0.1:")
        photo = sample("coffee.webp")
        request = urllib.request.Request(f"{url}/v1/detect", photo, {"Content-Type": "image/webp"})
        with urllib.request.urlopen(request) as answer:
            found = json.loads(answer.read())
        expected = Detector.load(settings=load_settings(environ=environ)).detect(photo).to_dict()
        assert {name: found[name] for name in expected} == expected
        with urllib.request.urlopen(f"{url}/docs") as answer:
            assert b"SwaggerUIBundle" in answer.read()
        with urllib.request.urlopen(f"{url}/openapi.json") as answer:
            described = json.loads(answer.read())
        committed = json.loads((ROOT / "openapi.json").read_bytes())
        # bulk jobs are another function's
        served = {path: item for path, item in committed["paths"].items() if "jobs" not in path}
        tags = [tag for tag in committed["tags"] if "jobs" not in tag["name"]]
        assert described == {**committed, "paths": served, "tags": tags}
    finally:
        process.terminate()
        process.wait(10)
