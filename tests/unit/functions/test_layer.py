from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest
from layers import build_layer

KEPT = [
    "featherface/models/manifest.json",
    "numpy/__init__.py",
    "numpy-2.5.5.dist-info/licenses/LICENSE.txt",
    "numpy.libs/libscipy_openblas64_.so",
    "onnxruntime/capi/onnxruntime_pybind11_state.so",
    "onnxruntime/capi/libonnxruntime_providers_shared.so",
    "onnxruntime/ThirdPartyNotices.txt",
    "PIL/JpegImagePlugin.py",
    "PIL/_imaging.so",
    "aws_lambda_powertools/utilities/idempotency/base.py",
]
DROPPED = [
    "boto3/session.py",
    "botocore/data/s3.json",
    "botocore-1.44.5.dist-info/RECORD",
    "six.py",
    "onnxruntime/capi/libonnxruntime.so.1.32.0",
    "onnxruntime/transformers/x.py",
    "numpy/linalg/tests/test_x.py",
    "numpy/__init__.pyi",
    "PIL/_avif.so",
    "PIL/PsdImagePlugin.py",
    "google/protobuf/x.py",
    "aws_lambda_powertools/event_handler/api_gateway.py",
    "aws_lambda_powertools/utilities/batch/base.py",
    "yaml/loader.py",
]


def test_stripping_takes_what_inference_never_imports_and_leaves_licences(tmp_path: Path) -> None:
    for name in [*KEPT, *DROPPED]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    build_layer.strip(tmp_path)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == set(KEPT)


def test_the_layer_has_the_inference_package_and_every_model_of_the_manifest(tmp_path: Path) -> None:
    from featherface.packages import load_manifest

    build_layer.add_inference(tmp_path)
    manifest = load_manifest(tmp_path / "featherface/models")
    files = [
        file
        for model in manifest.models.values()
        for kind, file in model.files.items()
        if kind != "checkpoint"
    ]
    assert files
    assert all(file.path.stat().st_size == file.bytes for file in files)
    assert not list(tmp_path.rglob("*.pth"))


def test_the_same_content_gives_the_same_archive(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "python").mkdir(parents=True)
        (tmp_path / name / "python/module.py").write_text("x = 1")
        build_layer.archive(tmp_path / name, tmp_path / f"{name}.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as zipped:
        assert zipped.namelist() == ["python/module.py"]


@pytest.mark.parametrize("python", [sys.executable, "no-such-command"])
def test_only_the_runtime_s_version_compiles_modules(python: str) -> None:
    running = python == sys.executable and sys.version_info[:2] == (3, 13)
    assert build_layer.is_runtime(python) == running
