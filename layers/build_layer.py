"""Build what ``template.yaml`` deploys: the Lambda layer for both architectures, and the functions' code.

    python layers/build_layer.py --uv .venv/bin/uv --python python3.13 --output build

The layer holds the inference package, its models and what the functions import. For each architecture, wheels
come from ``requirements/layer.lock`` by hash, are laid out as Lambda expects them, and lose what inference
never imports. The sizes are printed; more than the budget is an error. The functions are the same for both.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
RUNTIME = "3.13"
# Lambda's Python 3.13 runs on Amazon Linux 2023, glibc 2.34
PLATFORMS = {"x86_64": "x86_64-manylinux_2_28", "arm64": "aarch64-manylinux_2_28"}
BUDGET_MB = 95.0
PROFILES = ("production", "edge_device", "cloud_api")
_MB = 1e6

# The runtime brings these along, and they are a third of the layer.
IN_THE_RUNTIME = ("boto3", "botocore", "s3transfer", "dateutil", "urllib3", "six.py")
# Dependencies of parts that are dropped below: nothing that is left imports them.
UNUSED_PACKAGES = ("google", "flatbuffers", "packaging", "yaml", "_yaml")
UNUSED_PARTS = (
    # what the Python module does not link: the library for C programs
    "onnxruntime/capi/libonnxruntime.so.*",
    "onnxruntime/backend",
    "onnxruntime/datasets",
    "onnxruntime/quantization",
    "onnxruntime/tools",
    "onnxruntime/transformers",
    "numpy/_core/include",
    "numpy/_core/lib",
    "numpy/f2py",
    "numpy/fft",
    "numpy/ma",
    "numpy/polynomial",
    "numpy/random",
    "numpy/testing",
    "numpy/_core/_multiarray_tests*",
    "numpy/_core/_simd*",
    # codecs and fonts: photos are JPEG, PNG, BMP and WebP, and no function draws
    "PIL/_avif*",
    "PIL/_imagingcms*",
    "PIL/_imagingft*",
    "PIL/_imagingtk*",
    "pillow.libs/libavif*",
    "pillow.libs/libbrotli*",
    "pillow.libs/libfreetype*",
    "pillow.libs/libharfbuzz*",
    "pillow.libs/liblcms2*",
    "pillow.libs/libpng16*",
    "aws_lambda_powertools/event_handler",
    *(
        f"aws_lambda_powertools/utilities/{name}"
        for name in (
            "auth_alpha",
            "batch",
            "circuit_breaker",
            "data_classes",
            "data_masking",
            "feature_flags",
            "kafka",
            "metadata",
            "parameters",
            "parser",
            "streaming",
            "validation",
        )
    ),
    "bin",
)
# of Pillow's forty formats, those that are read, and those that it loads before it looks at a file
KEPT_PLUGINS = ("Bmp", "Gif", "Jpeg", "Mpo", "Png", "Ppm", "Tiff", "WebP")
EVERYWHERE = ("__pycache__", "tests", "testing/tests", "*.pyi", "*.pyx", "*.pxd", "*.h", "*.a")

_CHECK = """
import sys
sys.path[:0] = [{layer!r}, {functions!r}]
import numpy, onnxruntime, PIL
assert all(module.__file__.startswith({layer!r}) for module in (numpy, onnxruntime, PIL))
import detect.handler
import aws_lambda_powertools
from featherface import Detector, load_settings
for profile in {profiles!r}:
    load_settings(profile)
for model in {models!r}:
    detector = Detector.load(model)
    for photo in {photos!r}:
        detector.detect(open(photo, "rb").read())
"""


def install(uv: str, platform: str, folder: Path, runtime: str) -> None:
    """Put the locked wheels of a platform into a folder."""
    subprocess.run(
        [
            # copies, not links into the cache of uv: symbols are stripped below
            *(uv, "pip", "install", "--quiet", "--link-mode", "copy"),
            *("--no-deps", "--require-hashes", "--only-binary", ":all:"),
            *("--python-version", runtime, "--python-platform", platform, "--target", str(folder)),
            *("-r", str(ROOT / "requirements/layer.lock")),
        ],
        check=True,
    )


def add_inference(folder: Path) -> None:
    """Add the inference package with its models and profiles; training checkpoints and papers stay behind."""
    ignore = shutil.ignore_patterns("__pycache__", "cli.py", "detecting.py", "drawing.py")
    shutil.copytree(ROOT / "layers/inference/featherface", folder / "featherface", ignore=ignore)
    # as JSON, so that no cold start imports a YAML parser
    for profile in (folder / "featherface/profiles").glob("*.yaml"):
        settings = yaml.safe_load(profile.read_text(encoding="utf-8"))
        profile.with_suffix(".json").write_text(json.dumps(settings), encoding="utf-8")
        profile.unlink()
    models = shutil.ignore_patterns("*.pth", "*.md")
    shutil.copytree(ROOT / "layers/inference/models", folder / "featherface/models", ignore=models)


def strip(folder: Path) -> None:
    """Remove what inference never imports."""
    for name in (*IN_THE_RUNTIME, *UNUSED_PACKAGES, *UNUSED_PARTS):
        remove(folder.glob(name))
    for pattern in EVERYWHERE:
        remove(folder.rglob(pattern))
    kept = {f"{name}ImagePlugin.py" for name in KEPT_PLUGINS}
    remove(path for path in folder.glob("PIL/*ImagePlugin.py") if path.name not in kept)
    # of packages that are gone, their metadata go too; a package that stays keeps its licence
    for name in (
        "boto3",
        "botocore",
        "s3transfer",
        "python_dateutil",
        "urllib3",
        "six",
        "protobuf",
        "pyyaml",
        *UNUSED_PACKAGES,
    ):
        remove(folder.glob(f"{name}-*.dist-info"))


def remove(paths: Iterable[Path]) -> None:
    """Remove files and folders."""
    for path in list(paths):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def compile_modules(python: str, folder: Path) -> None:
    """Compile the modules once and for all: Lambda cannot keep what it would compile at each cold start."""
    command = [python, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", str(folder)]
    subprocess.run(command, check=True)


def check(python: str, folder: Path) -> None:
    """Find faces with nothing but the layer."""
    photos = [str(path) for path in sorted((ROOT / "examples/photos").glob("*.*")) if path.suffix != ".md"]
    code = _CHECK.format(
        layer=str(folder),
        functions=str(ROOT / "functions"),
        models=("nano", "v1"),
        profiles=PROFILES,
        photos=photos,
    )
    subprocess.run([python, "-I", "-S", "-c", code], check=True)


def build_functions(python: str, folder: Path, runtime: str = RUNTIME) -> None:
    """Lay out the functions' code: Lambda cannot keep what it would compile, so it comes compiled."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "functions", folder, ignore=shutil.ignore_patterns("__pycache__"))
    if is_runtime(python, runtime):
        compile_modules(python, folder)


def size(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def archive(folder: Path, target: Path) -> int:
    """Zip a layer as it is uploaded and return the bytes."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as zipped:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                # one date for all: the same content gives the same archive
                info = zipfile.ZipInfo(str(path.relative_to(folder)), (1980, 1, 1, 0, 0, 0))
                info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
                zipped.writestr(info, path.read_bytes())
    return target.stat().st_size


def is_runtime(python: str, runtime: str = RUNTIME) -> bool:
    """Tell whether a command is a Python of a version."""
    code = "import sys; print(*sys.version_info[:2], sep='.')"
    try:
        found = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    except OSError:
        return False
    return found.stdout.strip() == runtime


def strip_symbols(folder: Path) -> None:
    """Remove from shared libraries what only a debugger reads."""
    if shutil.which("strip") is None:
        print("there is no command strip: the libraries keep their symbols")
        return
    libraries = [str(path) for path in folder.rglob("*.so*") if not path.is_symlink()]
    subprocess.run(["strip", "--strip-unneeded", *libraries], check=True)


def build(uv: str, python: str, architecture: str, output: Path, runtime: str = RUNTIME) -> float:
    """Build one layer and return its size in MB, unzipped; of another runtime's version for tests."""
    layer = output / "layer" / architecture
    folder = layer / "python"
    shutil.rmtree(layer, ignore_errors=True)
    folder.mkdir(parents=True)
    install(uv, PLATFORMS[architecture], folder, runtime)
    add_inference(folder)
    whole = size(folder)
    strip(folder)
    if not is_runtime(python, runtime):
        print(f"{python} is no Python {runtime}: modules are not compiled, and cold starts are slower")
    else:
        if architecture == os.uname().machine.replace("aarch64", "arm64"):
            if runtime == RUNTIME:
                # only where the outcome is tried: libraries that were patched for a wheel may not survive it
                strip_symbols(folder)
            check(python, folder.resolve())
            print(f"{architecture}: both models find faces with Python {runtime} and nothing but the layer")
            remove(folder.rglob("__pycache__"))
        compile_modules(python, folder)
    left = size(folder)
    zipped = archive(layer, output / "layer" / f"{architecture}.zip")
    print(
        f"{architecture}: {left / _MB:.1f} MB unzipped ({whole / _MB:.1f} before stripping), "
        f"{zipped / _MB:.1f} MB zipped, budget {BUDGET_MB:.0f} MB"
    )
    for part in sorted(folder.iterdir(), key=size_of, reverse=True)[:6]:
        print(f"  {size_of(part) / _MB:6.1f}  {part.name}")
    return left / _MB


def size_of(path: Path) -> int:
    """Return the bytes of a file or folder."""
    return size(path) if path.is_dir() else path.stat().st_size


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--uv", default="uv", help="the uv command")
    parser.add_argument(
        "--python", default=f"python{RUNTIME}", help="an interpreter of the runtime's version"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "build")
    parser.add_argument("--architecture", choices=list(PLATFORMS), action="append")
    options = parser.parse_args()
    sizes = {
        architecture: build(options.uv, options.python, architecture, options.output)
        for architecture in options.architecture or PLATFORMS
    }
    build_functions(options.python, options.output / "functions")
    too_large = {name: f"{value:.1f} MB" for name, value in sizes.items() if value > BUDGET_MB}
    if too_large:
        print(f"over the budget of {BUDGET_MB:.0f} MB: {too_large}", file=sys.stderr)
    return 1 if too_large else 0


if __name__ == "__main__":
    sys.exit(main())
