"""A cold start pays for every import."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import featherface

PHOTOS = Path(__file__).parents[3] / "examples/photos"

HEAVY = {
    "boto3",
    "botocore",
    "cv2",
    "google",
    "jsonschema",
    "onnx",
    "pandas",
    "pyarrow",
    "ray",
    "requests",
    "scipy",
}
HEAVY |= {"torch", "tqdm", "urllib3", "yaml"}


def _imported(code: str) -> set[str]:
    script = f"{code}\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(answer.stdout))


def _roots(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


def test_results_can_be_read_without_onnxruntime() -> None:
    modules = _imported("from featherface import Detections, Settings")
    assert not _roots(modules) & (HEAVY | {"onnxruntime"})


def test_loading_a_detector_imports_three_packages() -> None:
    """Whatever else appears comes from numpy, Pillow and onnxruntime or from the standard library."""
    bare = _imported("pass")
    needed = _imported("import numpy, onnxruntime; import PIL.Image")
    modules = _imported(
        "from featherface import Detector, Settings; Detector.load(settings=Settings(device='cpu'))"
    )
    assert not _roots(modules) & HEAVY
    ours = {name for name in _roots(modules - bare - needed) if name not in sys.stdlib_module_names}
    assert ours <= {"featherface", "numpy", "onnxruntime", "PIL"}


@pytest.mark.parametrize(("photo", "kind"), [(None, None), ("group.jpg", "Jpeg"), ("coffee.webp", "WebP")])
def test_only_the_formats_that_come_are_loaded(photo: str | None, kind: str | None) -> None:
    come = f"decode(open({str(PHOTOS / photo)!r}, 'rb').read())" if photo else "pass"
    modules = _imported(f"from featherface.images import decode; {come}")
    plugins = {name for name in modules if name.startswith("PIL.") and name.endswith("ImagePlugin")}
    named = {f"PIL.{kind}ImagePlugin"} if kind else set()
    # Pillow's own: JPEG reads its EXIF with TIFF's parser.
    assert named <= plugins <= named | {"PIL.TiffImagePlugin"}


def test_a_profile_needs_yaml_and_nothing_else() -> None:
    modules = _imported("from featherface import load_settings; load_settings('edge_device')")
    assert _roots(modules) & HEAVY == {"yaml"}


def test_everything_public_is_there() -> None:
    assert all(hasattr(featherface, name) for name in featherface.__all__)
    assert sorted(featherface.__all__) == sorted(set(featherface.__all__))
