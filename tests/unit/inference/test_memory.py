"""The memory limit is a promise: a photo that is let in stays below it."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from featherface import ImageTooLargeError, Settings
from featherface.images import ImageLimits, decode

LIMIT_MB = 256
CHILD = """
import sys
from pathlib import Path
from featherface import Detector, Settings
settings = Settings(device="cpu", threads=1, memory_limit_mb=int(sys.argv[2]), max_image_bytes=2**31 - 1)
detector = Detector.load(sys.argv[3], settings=settings)
detector.warm_up()
# Forget the peak of the process that this one was forked from.
Path("/proc/self/clear_refs").write_text("5")
detector.detect(Path(sys.argv[1]).read_bytes())
status = Path("/proc/self/status").read_text()
print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
"""

PHOTOS = {
    "png-rgba": ("RGBA", "PNG", {"compress_level": 1}, 8),
    "png-palette": ("P", "PNG", {"compress_level": 1}, 8),
    "png-16-bit": ("I;16", "PNG", {"compress_level": 1}, 8),
    "jpeg": ("RGB", "JPEG", {}, 8),
    "jpeg-progressive": ("RGB", "JPEG", {"progressive": True, "subsampling": 0}, 8),
    "jpeg-progressive-cmyk": ("CMYK", "JPEG", {"progressive": True}, 8),
    "bmp": ("RGB", "BMP", {}, 11),
    "webp": ("RGBA", "WEBP", {"lossless": True, "quality": 0, "method": 0}, 18),
}


def _photo(mode: str, kind: str, options: dict[str, object], bytes_per_pixel: int) -> bytes:
    """Return about the largest photo of a kind that the limit lets in."""
    memory = Settings(memory_limit_mb=LIMIT_MB).image_limits.max_memory
    assert memory is not None
    width = int((memory * 0.97 / bytes_per_pixel * 4 / 3) ** 0.5)
    image = Image.new(mode, (width, width * 3 // 4))
    if mode == "P":
        image.putpalette([1, 2, 3])
        options = {**options, "transparency": 0}
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
@pytest.mark.parametrize("name", PHOTOS)
def test_the_largest_photos_stay_below_the_limit(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(_photo(*PHOTOS[name]))
    command = [sys.executable, "-c", CHILD, str(path), str(LIMIT_MB), "v1"]
    peak = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert peak / 1024 < LIMIT_MB


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_what_may_not_fit_is_refused_before_decoding(kind: str) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (1000, 1000)).save(buffer, kind)
    size = len(buffer.getvalue()) + 1_000_000 * (18 if kind == "WEBP" else 8)
    decode(buffer.getvalue(), limits=ImageLimits(max_memory=size))
    with pytest.raises(ImageTooLargeError, match=r"1000 x 1000 pixels may take (8|17) MiB"):
        decode(buffer.getvalue(), limits=ImageLimits(max_memory=size - 1))
