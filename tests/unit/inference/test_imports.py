"""A cold start pays for every import."""

from __future__ import annotations

import json
import subprocess
import sys

import featherface

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


def test_only_the_four_formats_are_loaded() -> None:
    modules = _imported("from featherface.images import decode")
    plugins = {name for name in modules if name.startswith("PIL.") and name.endswith("ImagePlugin")}
    named = {f"PIL.{name}ImagePlugin" for name in ("Bmp", "Jpeg", "Png", "WebP")}
    # Pillow's own: JPEG reads its EXIF with TIFF's parser.
    assert named <= plugins <= named | {"PIL.TiffImagePlugin"}


def test_a_profile_needs_yaml_and_nothing_else() -> None:
    modules = _imported("from featherface import load_settings; load_settings('edge_device')")
    assert _roots(modules) & HEAVY == {"yaml"}


def test_everything_public_is_there() -> None:
    assert all(hasattr(featherface, name) for name in featherface.__all__)
    assert sorted(featherface.__all__) == sorted(set(featherface.__all__))
