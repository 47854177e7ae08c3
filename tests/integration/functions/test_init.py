"""What happens before the first request, in a process of its own as in Lambda."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from layers import build_layer

ROOT = Path(__file__).parents[3]


def run(code: str, **environ: str) -> subprocess.CompletedProcess[str]:
    settled = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "functions"),
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "FEATHERFACE_INPUT_SIZE": "320",
    }
    return subprocess.run(
        [sys.executable, "-c", code], env={**settled, **environ}, capture_output=True, text=True, check=False
    )


def imported(module: str, **environ: str) -> set[str]:
    done = run(f"import {module}, sys; print(*sys.modules)", **environ)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


# What no init may import: it takes longer than the handler's own modules, or only some requests need it.
HEAVY = {
    "argparse",
    "asyncio",
    "aws_lambda_powertools",
    "aws_xray_sdk",
    "boto3",
    "botocore",
    "email.parser",
    "jsonschema",
    "onnx",
    "pandas",
    "pydantic",
    "ray",
    "requests",
    "scipy",
    "secrets",
    "subprocess",
    "torch",
    "urllib.request",
    "urllib3",
    "yaml",
    *(f"PIL.{name}ImagePlugin" for name in ("Bmp", "Jpeg", "Png", "WebP")),
}


def test_the_api_s_init_imports_nothing_heavy() -> None:
    # forms are not what most requests need; their module waits until one does
    assert not imported("detect.handler") & (HEAVY | {"detect.multipart", "detect.openapi"})


def test_a_deployed_profile_needs_no_yaml(tmp_path: Path) -> None:
    build_layer.add_inference(tmp_path)
    layer = f"{tmp_path}:{ROOT / 'functions'}"
    found = imported("detect.handler", PYTHONPATH=layer, FEATHERFACE_PROFILE="edge_device")
    assert "yaml" not in found
    settings = "print(load_settings())"
    code = f"import featherface; from featherface import load_settings; {settings}"
    deployed, here = (
        run(code, PYTHONPATH=path, FEATHERFACE_PROFILE="cloud_api").stdout
        for path in (layer, str(ROOT / "layers/inference"))
    )
    assert deployed == here


def test_the_upload_event_s_init_imports_nothing_heavy() -> None:
    tables = dict.fromkeys(("RESULTS_BUCKET", "INDEX_TABLE", "IDEMPOTENCY_TABLE"), "x")
    assert not imported("ingest.handler", **tables) & HEAVY


def test_all_that_waits_for_a_first_request_is_there_after_provisioning() -> None:
    ahead = {"boto3", "detect.multipart", "PIL.JpegImagePlugin", "PIL.PngImagePlugin", "PIL.WebPImagePlugin"}
    assert ahead <= imported("detect.handler", AWS_LAMBDA_INITIALIZATION_TYPE="provisioned-concurrency")


def test_a_missing_variable_fails_the_init_by_name() -> None:
    done = run("import ingest.handler", INDEX_TABLE="x", IDEMPOTENCY_TABLE="x")
    assert done.returncode != 0
    assert "RESULTS_BUCKET" in done.stderr


def flip(models: Path) -> None:
    path = models / "nano_efficient/featherface_nano.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def miscount(models: Path) -> None:
    path = models / "manifest.json"
    path.write_text(path.read_text().replace('"parameters": 344254', '"parameters": 344255'))


@pytest.mark.parametrize(
    ("tamper", "code"),
    [
        (flip, "model_hash"),
        (miscount, "model_parameters"),
        (lambda models: (models / "manifest.json").unlink(), "model_manifest"),
    ],
)
@pytest.mark.parametrize("module", ["detect.handler", "ingest.handler"])
def test_a_model_that_is_not_the_published_one_fails_the_init_with_a_metric(
    tmp_path: Path, tamper: Callable[[Path], None], code: str, module: str
) -> None:
    models = tmp_path / "models"
    shutil.copytree(ROOT / "layers/inference/models", models)
    tamper(models)
    tables = dict.fromkeys(("RESULTS_BUCKET", "INDEX_TABLE", "IDEMPOTENCY_TABLE"), "x")
    done = run(f"import {module}", FEATHERFACE_MODELS=str(models), **tables)
    assert done.returncode != 0
    metrics = [json.loads(line) for line in done.stdout.splitlines() if '"_aws"' in line]
    assert [(entry["model_validation_failed"], entry["error_code"]) for entry in metrics] == [([1.0], code)]


def test_a_sampled_request_is_traced_part_by_part() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as daemon:
        daemon.bind(("127.0.0.1", 0))
        daemon.settimeout(20)
        trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=557abcec3ee5a047;Sampled=1"
        done = run(
            f"from detect.runtime import SERVICE\n"
            f"from detect.requests import DetectRequest\n"
            f"from detect.options import read_options\n"
            f"data = open({str(ROOT / 'examples/photos/coffee.webp')!r}, 'rb').read()\n"
            f"SERVICE.detect(DetectRequest(data, read_options({{}}, {{}})))\n",
            AWS_XRAY_DAEMON_ADDRESS=f"127.0.0.1:{daemon.getsockname()[1]}",
            _X_AMZN_TRACE_ID=trace,
            LAMBDA_TASK_ROOT="/var/task",
        )
        assert done.returncode == 0, done.stderr
        sent = [json.loads(daemon.recv(65536).decode().partition("\n")[2]) for _ in range(2)]
    assert {part["name"] for part in sent} == {"decode", "inference"}
    assert {part["trace_id"] for part in sent} == {"1-5759e988-bd862e3fe1be46a994272793"}
