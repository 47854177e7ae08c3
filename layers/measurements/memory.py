"""Peaks of memory, with photos from small to the largest that are accepted."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from layers.emulator import PHOTO, VARIABLES, Setup, function, invoke, json_event, memory_mb
from layers.measurements import cloud
from PIL import Image

from featherface import ImageTooLargeError, load_settings
from featherface.images import decode

__all__ = ["measure"]

# not by getrusage: before exec a child counts its parent's memory for its own
_INTERPRETER = """
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(peak.split()[1]) * 1024 / 1e6)
"""
_NANO_OVER_INTERPRETER = 140
_EDGE = 256
# Four sides to three, as cameras have them.
_ASPECT = 4 / 3
_TWELVE_MEGAPIXELS = (4000, 3000)
_LEAST_WIDTH, _GREATEST_WIDTH, _WIDTH_STEP = 512, 8192, 64


def measure(setup: Setup, folder: Path, _rounds: int) -> None:
    """Measure each photo in a function of its own, by S3, and print."""
    interpreter = float(subprocess.check_output([str(setup.python), "-I", "-c", _INTERPRETER]))
    common = {"640 pixels": PHOTO.read_bytes(), "12 megapixels": _jpeg(_TWELVE_MEGAPIXELS)}
    runs = [("production", "fp32", name, photo) for name, photo in common.items()]
    largest = dict(_largest())
    for precision in ("int8", "fp32"):
        runs += [("edge_device", precision, name, photo) for name, photo in (common | largest).items()]
    print(f"peak memory in MB; the interpreter alone has {interpreter:.0f}")
    print(
        f"budgets: Nano at 640 {_NANO_OVER_INTERPRETER} over the interpreter, the edge profile {_EDGE} in all"
    )
    with cloud.served() as url:
        for profile, precision, name, photo in runs:
            cloud.upload(url, "photo", photo)
            environ = setup.environ(
                setup.functions, profile=profile, FEATHERFACE_PRECISION=precision, AWS_ENDPOINT_URL=url
            )
            event = json_event({"s3": {"bucket": VARIABLES["PHOTOS_BUCKET"], "key": "photo"}})
            with function(setup, "detect.handler", folder / "log", environ) as address:
                for _ in range(3):
                    answer = invoke(address, json.dumps(event).encode())
            if answer["statusCode"] != 200:
                raise RuntimeError(f"{name} was answered {answer}")
            peak = memory_mb(folder / "log")
            over = f", {peak - interpreter:.0f} over the interpreter" if profile == "production" else ""
            print(f"  {profile:12s} {precision}  {name:36s} {peak:4.0f}{over}", flush=True)


def _jpeg(size: tuple[int, int], **options: Any) -> bytes:
    with Image.open(PHOTO) as photo:
        return _encoded(photo.convert("RGB").resize(size), "JPEG", quality=90, **options)


def _encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _largest() -> Iterator[tuple[str, bytes]]:
    """Make the largest photo of each format that the edge profile accepts, of the dearest kind."""
    limits = load_settings("edge_device", environ={}).image_limits
    with Image.open(PHOTO) as photo:
        source = photo.convert("RGB")
    makers = {
        "JPEG": lambda size: _encoded(source.resize(size), "JPEG", quality=30),
        "progressive CMYK JPEG": lambda size: _encoded(
            source.resize(size).convert("CMYK"), "JPEG", quality=30, progressive=True
        ),
        "PNG with alpha": lambda size: _encoded(Image.new("RGBA", size, (90, 120, 150, 200)), "PNG"),
        "BMP": lambda size: _encoded(Image.new("RGB", size, (90, 120, 150)), "BMP"),
        "WebP with alpha": lambda size: _encoded(Image.new("RGBA", size, (90, 120, 150, 200)), "WEBP"),
    }
    for name, make in makers.items():
        # the width is between the first, which is accepted, and the second, which is not
        accepted, refused = _LEAST_WIDTH, _GREATEST_WIDTH
        while refused - accepted > _WIDTH_STEP:
            middle = (accepted + refused) // 2
            try:
                decode(make(_size(middle)), limits=limits, long_side=_WIDTH_STEP)
                accepted = middle
            except ImageTooLargeError:
                refused = middle
        width, height = _size(accepted)
        yield f"{name}, {width} x {height}", make((width, height))


def _size(width: int) -> tuple[int, int]:
    return width, round(width / _ASPECT)
