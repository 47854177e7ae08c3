from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from featherface import BoundingBox, Detections, Face, ImageTooLargeError, Landmarks, Point
from featherface.blurring import blur
from featherface.drawing import draw
from featherface.encoding import to_jpeg
from featherface.images import ImageLimits

FACE = Face(0.9, BoundingBox(40.0, 30.0, 40.0, 40.0), Landmarks(*[Point(60.0, 50.0)] * 5))
ONE_FACE = Detections(160, 120, (FACE,))
NO_FACE = Detections(64, 48)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GRAY = SRGB[:16] + b"GRAY" + SRGB[20:]


def saved(picture: Image.Image, kind: str = "JPEG", **parameters: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **parameters)
    return buffer.getvalue()


def test_blurring_destroys_the_face_and_nothing_else() -> None:
    before = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    picture = blur(saved(Image.fromarray(before), "PNG"), ONE_FACE)
    after = np.asarray(picture)
    assert after.shape == before.shape

    def detail(pixels: np.ndarray) -> float:
        """Noise is all detail: where it is gone, neighbours are alike."""
        return float(np.abs(np.diff(pixels[34:66, 44:76].astype(float), axis=1)).mean())

    assert detail(after) < 6 < 40 < detail(before)
    elsewhere = np.ones(before.shape[:2], dtype=bool)
    # the box and a fifth of it on each side
    elsewhere[22:79, 32:89] = False
    np.testing.assert_array_equal(after[elsewhere], before[elsewhere])


def test_a_face_at_the_edge_is_blurred_up_to_it() -> None:
    face = Face(0.9, BoundingBox(0.0, 0.0, 20.0, 20.0), FACE.landmarks)
    before = np.random.default_rng(1).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    after = np.asarray(blur(saved(Image.fromarray(before), "PNG"), Detections(20, 20, (face,))))
    assert np.abs(np.diff(after.astype(float), axis=1)).mean() < 12


def test_another_photo_is_refused() -> None:
    with pytest.raises(ValueError, match="a photo of 64 x 48 pixels, this one has 10 x 20"):
        blur(saved(Image.new("RGB", (10, 20))), NO_FACE)


def test_limits_hold() -> None:
    with pytest.raises(ImageTooLargeError):
        blur(saved(Image.new("RGB", (64, 48))), NO_FACE, limits=ImageLimits(max_pixels=10))


def _with_secrets(kind: str, picture: Image.Image, profile: bytes) -> bytes:
    exif = Image.Exif()
    exif[0x010E] = "secret: described"
    parameters: dict[str, Any] = {"exif": exif, "icc_profile": profile}
    if kind == "JPEG":
        parameters.update(comment=b"secret: commented", xmp=b"<x:xmpmeta>secret: placed</x:xmpmeta>")
    if kind == "PNG":
        parameters["pnginfo"] = PngInfo()
        parameters["pnginfo"].add_text("Author", "secret: written")
    if kind == "WEBP":
        parameters["xmp"] = b"<x:xmpmeta>secret: placed</x:xmpmeta>"
    return saved(picture, kind, **parameters)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("make", [blur, draw])
def test_no_metadata_come_through_but_the_colours(kind: str, make: Callable[..., Image.Image]) -> None:
    data = _with_secrets(kind, Image.new("RGB", (64, 48), (200, 10, 10)), SRGB)
    assert b"secret" in data
    picture = make(data, NO_FACE)
    for made in (to_jpeg(picture), saved(picture), saved(picture, "PNG"), saved(picture, "WEBP")):
        assert b"secret" not in made
        assert not Image.open(io.BytesIO(made)).getexif()
    assert Image.open(io.BytesIO(to_jpeg(picture))).info["icc_profile"] == SRGB


def test_a_profile_of_other_colours_does_not_come_through() -> None:
    """The pixels are RGB by now: a viewer that took them for gray would show nonsense."""
    data = _with_secrets("JPEG", Image.new("L", (64, 48), 99), GRAY)
    assert Image.open(io.BytesIO(data)).info["icc_profile"] == GRAY
    assert "icc_profile" not in Image.open(io.BytesIO(to_jpeg(blur(data, NO_FACE)))).info


def test_a_profile_too_large_for_a_jpeg_costs_nothing() -> None:
    data = saved(Image.new("RGB", (64, 48)), "WEBP", icc_profile=SRGB + bytes(17 * 2**20))
    picture = blur(data, NO_FACE, limits=ImageLimits(max_bytes=2**26))
    assert "icc_profile" not in Image.open(io.BytesIO(to_jpeg(picture))).info
