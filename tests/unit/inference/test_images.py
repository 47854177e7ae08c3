from __future__ import annotations

import io
import struct
import threading
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import cv2
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from PIL import Image

from featherface import ImageError, ImageTooLargeError, UnreadableImageError, UnsupportedFormatError
from featherface.images import DecodedImage, ImageLimits, decode

Scene = Callable[[int, int, int], Image.Image]
Encode = Callable[..., bytes]

FORMATS = {"JPEG": {"quality": 95}, "PNG": {}, "BMP": {}, "WEBP": {"lossless": True}}


def to_bgr(photo: DecodedImage) -> np.ndarray:
    """Return pixels as OpenCV has them."""
    return np.ascontiguousarray(np.asarray(photo.image)[:, :, ::-1])


def opencv(data: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


@pytest.mark.parametrize("kind", FORMATS)
def test_formats_agree_with_opencv(kind: str, scene: Scene, encode: Encode) -> None:
    data = encode(scene(71, 53, 1), kind, **FORMATS[kind])
    pixels = to_bgr(decode(data))
    assert pixels.flags.c_contiguous
    assert pixels.dtype == np.uint8
    np.testing.assert_allclose(pixels.astype(int), opencv(data).astype(int), atol=3 if kind == "JPEG" else 0)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_orientations(kind: str, orientation: int, scene: Scene, encode: Encode) -> None:
    """Stored turned with the matching tag, a photo comes out as it went in; turned by index arithmetic."""
    upright = np.asarray(scene(40, 24, 2))
    # EXIF 2.32, tag 274: where the stored 0th row and 0th column lie in the upright picture.
    stored = {
        1: lambda p: p,
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: p.transpose(1, 0, 2),
        6: lambda p: p.transpose(1, 0, 2)[::-1],
        7: lambda p: p.transpose(1, 0, 2)[::-1, ::-1],
        8: lambda p: p.transpose(1, 0, 2)[:, ::-1],
    }[orientation](upright)
    options = {**FORMATS[kind], **({"quality": 100, "subsampling": 0} if kind == "JPEG" else {})}
    photo = decode(encode(Image.fromarray(np.ascontiguousarray(stored)), kind, orientation, **options))
    assert (photo.width, photo.height) == (40, 24)
    difference = to_bgr(photo)[:, :, ::-1].astype(int) - upright
    assert np.abs(difference).max() <= (6 if kind == "JPEG" else 0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_jpeg_orientations_agree_with_opencv(orientation: int, scene: Scene, encode: Encode) -> None:
    data = encode(scene(64, 48, 3), "JPEG", orientation, quality=95)
    np.testing.assert_allclose(to_bgr(decode(data)).astype(int), opencv(data).astype(int), atol=3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("size", [(1003, 745), (745, 1003)])
def test_reduced_decoding_keeps_the_frame(
    kind: str, orientation: int, size: tuple[int, int], scene: Scene, encode: Encode
) -> None:
    """Seen through its region, the small picture shows what the whole one shows, however it is turned."""
    data = encode(scene(*size, 4), kind, None if kind == "BMP" else orientation, **FORMATS[kind])
    whole, small = decode(data), decode(data, long_side=320)
    assert (small.width, small.height) == (whole.width, whole.height)
    assert 320 <= max(small.image.size) < max(whole.image.size)
    thumbnail = (80, 60)
    filter_ = Image.Resampling.BILINEAR
    expected = np.asarray(whole.image.resize(thumbnail, filter_), dtype=int)
    found = np.asarray(small.image.resize(thumbnail, filter_, box=small.region), dtype=int)
    # Without the region, the half pixel that it cuts off makes this 4 to 6.
    assert np.abs(found - expected).max() <= 2


@pytest.mark.parametrize(
    ("long_side", "expected"), [(640, (1000, 750)), (1000, (1000, 750)), (1001, (2000, 1500))]
)
def test_jpeg_scale_is_the_smallest_that_suffices(
    long_side: int, expected: tuple[int, int], scene: Scene, encode: Encode
) -> None:
    photo = decode(encode(scene(4000, 3000, 5), "JPEG"), long_side=long_side)
    assert photo.image.size == expected
    assert (photo.width, photo.height) == (4000, 3000)


@pytest.mark.parametrize("size", [(5000, 3), (3, 5000), (1, 1), (2600, 1)])
@pytest.mark.parametrize("kind", FORMATS)
def test_slivers(kind: str, size: tuple[int, int], scene: Scene, encode: Encode) -> None:
    photo = decode(encode(scene(*size, 6), kind), long_side=320)
    assert (photo.width, photo.height) == size
    left, top, right, bottom = photo.region
    assert 0 <= left < right <= photo.image.width
    assert 0 <= top < bottom <= photo.image.height


RED = (200, 30, 10)


def _palette(transparent: bool) -> bytes:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, *RED])
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **({"transparency": 1} if transparent else {}))
    return buffer.getvalue()


def _saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "rgb"),
    [
        (_saved(Image.new("1", (4, 4), 1)), (255, 255, 255)),
        (_saved(Image.new("L", (4, 4), 77)), (77, 77, 77)),
        (_saved(Image.new("L", (4, 4), 77), transparency=77), (255, 255, 255)),
        (_saved(Image.new("L", (4, 4), 77), "JPEG"), (77, 77, 77)),
        (_saved(Image.new("LA", (4, 4), (100, 255))), (100, 100, 100)),
        (_saved(Image.new("LA", (4, 4), (100, 0))), (255, 255, 255)),
        (_palette(transparent=False), RED),
        (_palette(transparent=True), (255, 255, 255)),
        (_saved(Image.new("RGB", (4, 4), RED), transparency=RED), (255, 255, 255)),
        (_saved(Image.new("RGBA", (4, 4), (*RED, 255))), RED),
        (_saved(Image.new("RGBA", (4, 4), (0, 0, 0, 51))), (204, 204, 204)),
        (_saved(Image.new("RGBA", (4, 4), (0, 0, 0, 51)), "WEBP", lossless=True), (204, 204, 204)),
        (_saved(Image.new("I;16", (4, 4), 0x8123)), (0x81, 0x81, 0x81)),
        (_saved(Image.new("I;16", (4, 4), 0xFFFF)), (255, 255, 255)),
        (_saved(Image.new("L", (4, 4), 9), "BMP"), (9, 9, 9)),
        (_saved(Image.new("1", (4, 4), 1), "BMP"), (255, 255, 255)),
    ],
)
def test_modes(data: bytes, rgb: tuple[int, int, int]) -> None:
    pixels = to_bgr(decode(data))
    assert pixels.shape == (4, 4, 3)
    assert (pixels == rgb[::-1]).all()


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "I;16", "1"])
def test_modes_can_be_reduced(mode: str) -> None:
    photo = decode(_saved(Image.new(mode, (1300, 900))), long_side=320)
    assert photo.image.mode == "RGB"
    assert photo.image.size == (325, 225)


def test_sixteen_bit_colour_agrees_with_opencv() -> None:
    samples = np.random.default_rng(7).integers(0, 65536, (6, 5, 3), dtype=np.uint16)
    data = cv2.imencode(".png", samples)[1].tobytes()
    np.testing.assert_array_equal(to_bgr(decode(data)), opencv(data))


def test_sixteen_bit_grey_agrees_with_opencv() -> None:
    samples = np.random.default_rng(8).integers(0, 65536, (6, 5), dtype=np.uint16)
    data = cv2.imencode(".png", samples)[1].tobytes()
    np.testing.assert_array_equal(to_bgr(decode(data)), opencv(data))


def test_sixteen_bit_grey_with_a_transparent_value() -> None:
    """Pillow cannot write tRNS for 16 bit grey, so the chunk is put in by hand."""
    plain = _saved(Image.new("I;16", (4, 4), 0x1234))
    body = b"tRNS" + struct.pack(">H", 0x1234)
    chunk = struct.pack(">I", 2) + body + struct.pack(">I", zlib.crc32(body))
    at = plain.index(b"IDAT") - 4
    assert (to_bgr(decode(plain[:at] + chunk + plain[at:])) == 255).all()


def test_cmyk_as_adobe_writes_it_agrees_with_opencv(scene: Scene) -> None:
    data = _saved(scene(32, 24, 9).convert("CMYK"), "JPEG", quality=95)
    assert b"Adobe" in data
    np.testing.assert_allclose(to_bgr(decode(data)).astype(int), opencv(data).astype(int), atol=4)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_animations_count_as_their_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, (0, 0, 255), (0, 255, 0))]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = _saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert (to_bgr(decode(data)) == RED[::-1]).all()


def test_a_jpeg_of_several_pictures_counts_as_its_first(scene: Scene) -> None:
    first = scene(1300, 900, 10)
    data = _saved(first, "MPO", save_all=True, append_images=[Image.new("RGB", (640, 480))])
    photo = decode(data, long_side=320)
    assert (photo.width, photo.height) == (1300, 900)
    assert (
        np.abs(np.asarray(photo.image.resize((13, 9)), int) - np.asarray(first.resize((13, 9)), int)).max()
        < 12
    )


def test_any_bytes_like_object(scene: Scene, encode: Encode) -> None:
    data = encode(scene(20, 10, 11))
    for form in (bytearray(data), memoryview(data)):
        np.testing.assert_array_equal(to_bgr(decode(form)), to_bgr(decode(data)))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize(
    "bad", [b"\xff" * 40, b"Exif\0\0" + b"MM\0*\xff\xff\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\xff\xff"]
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_broken_metadata_never_cost_a_photo(kind: str, bad: bytes, scene: Scene, encode: Encode) -> None:
    photo = decode(encode(scene(20, 10, 12), kind, exif=bad))
    assert (photo.width, photo.height) == (20, 10)


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_impossible_orientations_count_as_upright(value: int, scene: Scene, encode: Encode) -> None:
    assert decode(encode(scene(20, 10, 13), "PNG", value)).width == 20


# ---------------------------------------------------------------- what cannot be used


def test_empty() -> None:
    with pytest.raises(UnreadableImageError, match="empty"):
        decode(b"")


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"GIF89a" + b"\0" * 20, "GIF"),
        (b"II*\0" + b"\0" * 20, "TIFF"),
        (b"\0\0\0\x1cftypavif" + b"\0" * 20, "AVIF"),
        (b"\0\0\0\x18ftypheic" + b"\0" * 20, "HEIC"),
        (b"%PDF-1.7", "PDF"),
        (b"<svg xmlns='x'/>", "SVG"),
        (b"not a photo at all", "6e 6f 74"),
        (b"\0", "00"),
    ],
)
def test_other_formats_are_named(data: bytes, name: str) -> None:
    with pytest.raises(UnsupportedFormatError, match=name) as caught:
        decode(data)
    assert "JPEG, PNG, BMP and WebP" in str(caught.value)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.9])
def test_truncated_files(kind: str, part: float, scene: Scene, encode: Encode) -> None:
    data = encode(scene(200, 150, 14), kind, **FORMATS[kind])
    with pytest.raises((UnreadableImageError, UnsupportedFormatError)):
        decode(data[: int(len(data) * part)])


def test_too_many_bytes(scene: Scene, encode: Encode) -> None:
    data = encode(scene(20, 10, 15))
    with pytest.raises(ImageTooLargeError, match=rf"{len(data)} bytes; at most {len(data) - 1} are accepted"):
        decode(data, limits=ImageLimits(max_bytes=len(data) - 1))
    decode(data, limits=ImageLimits(max_bytes=len(data)))


@pytest.mark.parametrize("kind", FORMATS)
def test_too_many_pixels(kind: str, scene: Scene, encode: Encode) -> None:
    data = encode(scene(40, 30, 16), kind)
    with pytest.raises(
        ImageTooLargeError, match=r"40 x 30 = 1,200 pixels; at most 1,199 .* raise max_image_pixels"
    ):
        decode(data, limits=ImageLimits(max_pixels=1199))
    decode(data, limits=ImageLimits(max_pixels=1200))


def _png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    crc = struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + crc + struct.pack(">I", 4) + b"IDATxxxx"


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", [(9000, 9000), (13_000, 13_000), (60_000, 60_000), (2**31 - 1, 2**31 - 1)])
def test_bombs_are_refused_from_their_header(size: tuple[int, int]) -> None:
    """There are no pixels behind these headers: decoding would fail otherwise."""
    with pytest.raises(ImageTooLargeError):
        decode(_png_header(*size))


def test_a_png_text_bomb_is_refused(scene: Scene, encode: Encode) -> None:
    data = encode(scene(8, 8, 17))
    body = b"zTXt" + b"comment\0\0" + zlib.compress(b"\0" * 3_000_000, 9)
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    at = data.index(b"IDAT") - 4
    with pytest.raises(UnreadableImageError):
        decode(data[:at] + chunk + data[at:])


def _with_scans(extra: int) -> bytes:
    """Return a progressive JPEG whose last scan, a refinement, comes again and again."""
    data = _saved(Image.new("L", (64, 48), 40), "JPEG", progressive=True)
    last, end = data.rfind(b"\xff\xda"), data.rfind(b"\xff\xd9")
    return data[:end] + data[last:end] * extra + data[end:]


def test_a_jpeg_that_stalls_decoders_is_refused() -> None:
    assert decode(_with_scans(40)).width == 64
    with pytest.raises(UnreadableImageError, match="more than 64 scans"):
        decode(_with_scans(64))


def test_what_follows_a_progressive_jpeg_is_not_read(encode: Encode) -> None:
    """Motion photos carry a video behind the picture, and metadata may hold whole pictures."""
    data = encode(Image.new("L", (64, 48)), "JPEG", progressive=True, exif=b"Exif\0\0" + b"\xff\xda\0\2" * 90)
    assert decode(data + b"\xff\xda\0\2" * 90).width == 64


@pytest.mark.parametrize("progressive", [False, True])
def test_large_progressive_photos_pass(progressive: bool, scene: Scene, encode: Encode) -> None:
    data = encode(scene(1500, 1000, 19), "JPEG", progressive=progressive, subsampling=0, quality=95)
    assert decode(data).width == 1500


def test_no_area() -> None:
    header = (
        b"BM"
        + struct.pack("<IHHI", 54, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, 0, 5, 1, 24, 0, 0, 0, 0, 0, 0)
    )
    with pytest.raises(UnreadableImageError):
        decode(header)


@settings(max_examples=150)
@given(kind=st.sampled_from(list(FORMATS)), at=st.floats(0, 1), garbage=st.binary(min_size=1, max_size=12))
def test_corruption_gives_pixels_or_a_coded_error(kind: str, at: float, garbage: bytes) -> None:
    data = bytearray(_saved(_corruptible(), kind))
    start = int(at * (len(data) - 1))
    data[start : start + len(garbage)] = garbage
    with suppress(ImageError):
        assert decode(bytes(data), limits=ImageLimits(max_pixels=1_000_000)).image.mode == "RGB"


def _corruptible() -> Image.Image:
    return Image.fromarray(np.arange(48 * 32 * 3, dtype=np.uint32).astype(np.uint8).reshape(32, 48, 3))


def test_pillow_is_left_as_it_was(scene: Scene, encode: Encode) -> None:
    before = (Image.MAX_IMAGE_PIXELS, Image.ID.copy())
    for kind in FORMATS:
        decode(encode(scene(20, 10, 18), kind))
    assert before == (Image.MAX_IMAGE_PIXELS, Image.ID)


def test_threads_decode_at_once(scene: Scene, encode: Encode) -> None:
    files = [encode(scene(300 + i, 200, i), kind) for i in range(4) for kind in FORMATS]
    alone = [to_bgr(decode(data)) for data in files]
    start = threading.Barrier(8)

    def work(_: int) -> list[np.ndarray]:
        start.wait()
        return [to_bgr(decode(data)) for data in files]

    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(work, range(8)):
            for one, other in zip(found, alone, strict=True):
                np.testing.assert_array_equal(one, other)
