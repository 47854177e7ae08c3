"""The functions under Lambda's own runtime client, as `python -m layers.measure_lambda` runs them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from layers import emulator

from featherface import Detector, Settings


@pytest.fixture(scope="module")
def runtime(tools: Path, project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The API's function under the emulator: its address, and the file with its log."""
    folder = tmp_path_factory.mktemp("runtime")
    machine = os.uname().machine.replace("aarch64", "arm64")
    (binary,) = (tools / "sam").glob(f"lib/python*/site-packages/samcli/local/rapid/aws-lambda-rie-{machine}")
    runnable = Path(shutil.copy(binary, folder / "emulator"))
    runnable.chmod(0o755)
    setup = emulator.Setup(tools / "cloud/bin/python", runnable, project / "build")
    environ = setup.environ(setup.functions)
    with emulator.function(setup, "detect.handler", folder / "log", environ) as url:
        yield url, folder / "log"


def test_the_runtime_starts_it_and_gets_the_same_faces(runtime: Any) -> None:
    url, log = runtime
    photo = emulator.PHOTO.read_bytes()
    answer = emulator.invoke(url, json.dumps(emulator.photo_event(photo)).encode())
    assert answer["statusCode"] == 200
    found = json.loads(answer["body"])
    expected = Detector.load(settings=Settings(threads=1)).detect(photo).to_dict()
    assert {name: found[name] for name in expected} == expected
    assert emulator.init_ms(log) > 0
    assert emulator.memory_mb(log) > 0


def test_its_log_is_json_with_the_ids_of_the_invocation(runtime: Any) -> None:
    url, log = runtime
    answer = emulator.invoke(url, json.dumps(emulator.photo_event(b"no photo")).encode())
    assert answer["statusCode"] == 415
    problem = json.loads(answer["body"])
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    records = [json.loads(line) for line in lines if line.startswith('{"timestamp"')]
    (record,) = (each for each in records if each.get("requestId") == problem["request_id"])
    assert (record["level"], record["error_code"]) == ("WARNING", "unsupported_format")
    # what the gateway calls the request, and its access log
    assert record["correlation_id"] == "measure"
