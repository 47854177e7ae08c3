"""The functions under Lambda's own runtime client, as `layers/measure_lambda.py` runs them."""

from __future__ import annotations

import base64
import json
import os
import shutil
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from layers import measure_lambda

from featherface import Detector, Settings

PHOTO = measure_lambda.PHOTO


@pytest.fixture(scope="module")
def runtime(tools: Path, project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The API's function under the emulator: its address, and the file with its log."""
    folder = tmp_path_factory.mktemp("runtime")
    machine = os.uname().machine.replace("aarch64", "arm64")
    (binary,) = (tools / "sam").glob(f"lib/python*/site-packages/samcli/local/rapid/aws-lambda-rie-{machine}")
    emulator = Path(shutil.copy(binary, folder / "emulator"))
    emulator.chmod(0o755)
    options = Namespace(python=tools / "cloud/bin/python", emulator=emulator, build=project / "build")
    functions = project / "build/functions"
    with measure_lambda.function(options, "detect.handler", functions, folder / "log", "production") as url:
        yield url, folder / "log"


def test_the_runtime_starts_it_and_gets_the_same_faces(runtime: Any) -> None:
    url, log = runtime
    answer = measure_lambda.invoke(url, measure_lambda.event())
    found = json.loads(answer["body"])
    expected = Detector.load(settings=Settings(threads=1)).detect(PHOTO.read_bytes()).to_dict()
    assert {name: found[name] for name in expected} == expected
    assert measure_lambda.init_ms(log) > 0
    assert measure_lambda.memory_mb(log) > 0


def test_its_log_is_json_with_the_ids_of_the_invocation(runtime: Any) -> None:
    url, log = runtime
    broken = json.loads(measure_lambda.event())
    broken["body"] = base64.b64encode(b"no photo").decode()
    answer = measure_lambda.invoke(url, json.dumps(broken).encode(), status=415)
    problem = json.loads(answer["body"])
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    records = [json.loads(line) for line in lines if line.startswith('{"timestamp"')]
    (record,) = (each for each in records if each.get("requestId") == problem["request_id"])
    assert (record["level"], record["error_code"]) == ("WARNING", "unsupported_format")
    # what the gateway calls the request, and its access log
    assert record["correlation_id"] == "measure"
