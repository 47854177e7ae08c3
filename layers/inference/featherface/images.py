"""From the bytes of a photo to upright pixels.

Rules, all decided by content and never by a file's name:

* JPEG, PNG, BMP and WebP are read, nothing else.
* The number of bytes is checked first, the number of pixels from the header, both before anything is decoded.
* An animated PNG or WebP counts as its first frame; a JPEG with several pictures (MPO) as its first picture.
* The EXIF orientation (1 to 8; JPEG, PNG, WebP) is applied. An orientation that cannot be read counts as 1.
* Alpha is composited over white, as a page would show it. 16 bit samples keep their high byte. CMYK is taken
  as Adobe writes it (inverted in JPEG). Embedded colour profiles are not applied.
* A progressive JPEG may have 64 scans; a photo's ten would do.
* When the caller needs fewer pixels than the photo has, the photo is decoded smaller: JPEG in the DCT domain,
  which saves most of the time and memory, the others by averaging blocks. The coordinate frame stays the
  original's.

Nothing here changes Pillow's module state, so any number of threads may decode at once.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from PIL import Image

from featherface.containers import check_scans, sniff
from featherface.errors import ImageError, ImageTooLargeError, InputTypeError, UnreadableImageError

if TYPE_CHECKING:
    from PIL import ImageFile

__all__ = ["FORMATS", "PILLOW_PIXEL_LIMIT", "DecodedImage", "ImageLimits", "decode"]

FORMATS: Final = ("JPEG", "PNG", "BMP", "WEBP")
"""Pillow's names of the accepted formats."""

PILLOW_PIXEL_LIMIT: Final = 178_956_970
"""Pillow refuses to decode anything above twice its ``MAX_IMAGE_PIXELS``, whatever our own limit says."""

_MIB: Final = 1024 * 1024
# What decoding takes at most, measured on the worst of each: progressive CMYK, 16 bit and alpha, and for WebP
# the canvases that libwebp keeps for animations. Four of them are Pillow's own pixels.
_BYTES_PER_PIXEL: Final = {"JPEG": 8, "PNG": 8, "BMP": 8, "WEBP": 18}
# Pillow's modules and classes, imported when the first photo of their kind comes.
_READERS: Final = {
    "JPEG": ("PIL.JpegImagePlugin", "JpegImageFile"),
    "PNG": ("PIL.PngImagePlugin", "PngImageFile"),
    "BMP": ("PIL.BmpImagePlugin", "BmpImageFile"),
    "WEBP": ("PIL.WebPImagePlugin", "WebPImageFile"),
}
_ORIENTATION_TAG: Final = 0x0112
# Bytes. Profiles of RGB have some hundred to some thousand.
_LARGEST_PROFILE: Final = 1024 * 1024
_BACKGROUND: Final = (255, 255, 255)

# What turns the stored picture upright, for each EXIF orientation (CIPA DC-008, tag 274).
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Region = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels of a decoded image."""


class ImageLimits(NamedTuple):
    """What a photo may cost.

    Parameters
    ----------
    max_bytes : int
        Encoded size.
    max_pixels : int
        Width times height as the header states them. Pillow's own limit, `PILLOW_PIXEL_LIMIT`, holds as well.
    max_memory : int or None
        Bytes that the encoded and the decoded photo may take together, by the worst case of its format; None
        for no limit.
    """

    max_bytes: int = 20 * 1024 * 1024
    max_pixels: int = 64_000_000
    max_memory: int | None = None


class DecodedImage(NamedTuple):
    """Upright pixels, possibly fewer than the photo has, and the frame that they belong to.

    Parameters
    ----------
    image : PIL.Image.Image
        Mode RGB, upright. Its ``info`` holds the photo's colour profile if that is one of RGB, and nothing
        else: comments and places must not find their way into what is made of the photo.
    region : tuple of float
        Left, top, right and bottom of the photo within `image`, in pixels of `image`. Reduced decoding rounds
        the size up, so the last row and column may stand for less than a whole pixel; the region says exactly
        how much.
    width, height : int
        Size of the upright original in pixels: the frame of all coordinates.
    """

    image: Image.Image
    region: Region
    width: int
    height: int


def decode(
    data: bytes | bytearray | memoryview,
    *,
    limits: ImageLimits | None = None,
    long_side: int | None = None,
) -> DecodedImage:
    """Decode a photo to upright pixels.

    Parameters
    ----------
    data : bytes-like
        The encoded photo: JPEG, PNG, BMP or WebP. Arrays of pixels are not taken.
    limits : ImageLimits, optional
        Checked before decoding; the defaults of `ImageLimits` if omitted.
    long_side : int, optional
        The caller needs no more than this many pixels along the longer side. The photo may then be decoded at
        a half, a quarter or an eighth, whichever is the smallest that still has them. All pixels if omitted.

    Returns
    -------
    DecodedImage

    Raises
    ------
    InputTypeError
        The data are no bytes.
    UnreadableImageError
        The data are empty, truncated or corrupt.
    UnsupportedFormatError
        The content is none of the four formats.
    ImageTooLargeError
        There are more bytes or pixels than the limits allow.
    """
    limits = limits or ImageLimits()
    _check_bytes(data)
    if len(data) > limits.max_bytes:
        raise ImageTooLargeError(
            f"the photo has {len(data):,} bytes; at most {limits.max_bytes:,} are accepted"
        )
    kind = sniff(bytes(data[:16]))
    try:
        with _open(kind, io.BytesIO(data)) as stored:
            _check_size(stored.size, limits)
            _check_memory(stored.size, kind, len(data), limits)
            if stored.info.get("progressive"):
                check_scans(data)
            width, height = stored.size
            factor = _reduction(stored.size, long_side)
            extent = (width / factor, height / factor)
            if kind == "JPEG" and factor > 1:
                drafted = stored.draft("RGB", (max(1, width // factor), max(1, height // factor)))
                # A sliver that is thinner than the factor is shrunk less than asked; the answer says how
                # much.
                extent = drafted[1][2:] if drafted else (float(width), float(height))
                factor = 1
            stored.load()
            # Only now: a PNG may carry its EXIF after the pixels.
            orientation = _orientation(stored)
            image, region = _upright(_to_rgb(stored, factor), extent, orientation)
            image.info = _colours(stored.info)
    except (ImageError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLargeError(f"the photo is too large to be opened safely: {error}") from error
    except Exception as error:
        # Pillow's plugins raise whatever their parsing tripped over (OSError, SyntaxError, struct.error,
        # EOFError, zlib.error and more), and all of it means the same to the caller: these bytes are not a
        # whole photo.
        reason = f"{type(error).__name__}: {error}"
        raise UnreadableImageError(f"the {kind} photo is truncated or corrupt ({reason})") from error
    if orientation >= 5:
        width, height = height, width
    return DecodedImage(image, region, width, height)


def _check_bytes(data: object) -> None:
    try:
        with memoryview(data) as view:  # type: ignore[arg-type]
            shape, item = view.shape or (), view.itemsize
    except TypeError:
        raise InputTypeError(
            f"a photo is given as the bytes of its file; got {type(data).__name__}. "
            "Read them first: Path('photo.jpg').read_bytes()"
        ) from None
    if len(shape) != 1 or item != 1:
        raise InputTypeError(
            f"a photo is given as the bytes of its file; got {type(data).__name__} of shape {shape}. "
            "Pixels are not taken: encode them first, say as PNG"
        )


def _open(kind: str, stream: io.BytesIO) -> ImageFile.ImageFile:
    # Not Image.open, which imports the plugins of formats that are not read here: five at its first photo,
    # all forty at its first WebP.
    module, name = _READERS[kind]
    reader: type[ImageFile.ImageFile] = getattr(import_module(module), name)
    return reader(stream)


def _check_size(size: tuple[int, int], limits: ImageLimits) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise ValueError(f"the header gives a size of {width} x {height}")
    allowed = min(limits.max_pixels, PILLOW_PIXEL_LIMIT)
    if width * height > allowed:
        raised = (
            ""
            if allowed == PILLOW_PIXEL_LIMIT
            else ", or raise max_image_pixels (FEATHERFACE_MAX_IMAGE_PIXELS)"
        )
        raise ImageTooLargeError(
            f"the photo has {width} x {height} = {width * height:,} pixels; "
            f"at most {allowed:,} are accepted. Scale it down first{raised}"
        )


def _check_memory(size: tuple[int, int], kind: str, encoded: int, limits: ImageLimits) -> None:
    needed = encoded + size[0] * size[1] * _BYTES_PER_PIXEL[kind]
    if limits.max_memory is not None and needed > limits.max_memory:
        raise ImageTooLargeError(
            f"a {kind} photo of {size[0]} x {size[1]} pixels may take {needed / _MIB:,.0f} MiB to decode; "
            f"{limits.max_memory / _MIB:,.0f} MiB are left of the memory limit. Scale it down first"
        )


def _reduction(size: tuple[int, int], long_side: int | None) -> int:
    """Return the largest of 8, 4, 2 and 1 by which the long side may shrink and still hold what is needed."""
    if long_side is None:
        return 1
    # No margin is kept: measured on WIDER FACE photos, where a half of 1024 is just the 512 or enough for the
    # 320 that are asked for, averaging blocks first gave the same accuracy as scaling the whole photo (0.1
    # points better).
    return next((factor for factor in (8, 4, 2) if max(size) >= factor * long_side), 1)


def _orientation(image: Image.Image) -> int:
    raw = image.info.get("exif")
    if not isinstance(raw, bytes):
        return 1
    exif = Image.Exif()
    try:
        exif.load(raw)
        value = exif.get(_ORIENTATION_TAG, 1)
    except Exception:
        # Metadata are never a reason to lose a photo: it is taken as stored.
        return 1
    return value if isinstance(value, int) and value in range(1, 9) else 1


def _colours(info: Mapping[Any, Any]) -> dict[str | tuple[int, int], Any]:
    """Return the colour profile of a photo's metadata, without which wide colours look dull."""
    profile = info.get("icc_profile")
    # ICC.1 7.2: bytes 16 to 19 name the space of the colours. The pixels are RGB by now, whatever they were.
    if not isinstance(profile, bytes) or profile[16:20] != b"RGB " or len(profile) > _LARGEST_PROFILE:
        return {}
    return {"icc_profile": profile}


def _to_rgb(image: Image.Image, factor: int) -> Image.Image:
    """Return `image` as 8 bit RGB, averaged over blocks of `factor` by `factor` pixels."""
    transparent = image.has_transparency_data
    if image.mode.startswith("I"):
        samples = np.asarray(image)
        high_byte = (np.clip(samples, 0, 65_535) >> 8).astype(np.uint8)
        hidden = image.info.get("transparency")
        image = Image.fromarray(high_byte)
        if isinstance(hidden, int):
            image.putalpha(Image.fromarray(np.where(samples == hidden, 0, 255).astype(np.uint8)))
    elif image.mode not in ("L", "RGB", "RGBA") or (transparent and image.mode != "RGBA"):
        image = image.convert("RGBA" if transparent else "RGB")
    if factor > 1:
        # Before compositing, so that the background is never needed in full size; reduce weighs by alpha.
        image = image.reduce(factor)
    if transparent:
        image = image.convert("RGBA")
        background = Image.new("RGBA", image.size, (*_BACKGROUND, 255))
        image = Image.alpha_composite(background, image)
    return image.convert("RGB") if image.mode != "RGB" else image


def _upright(image: Image.Image, extent: tuple[float, float], orientation: int) -> tuple[Image.Image, Region]:
    """Turn the stored picture, of which the photo fills `extent` (width, height) from the top left."""
    if orientation not in _UPRIGHT:
        return image, (0.0, 0.0, *extent)
    upright = image.transpose(_UPRIGHT[orientation])
    across, down = extent if orientation < 5 else extent[::-1]
    left = upright.width - across if orientation in (2, 3, 6, 7) else 0.0
    top = upright.height - down if orientation in (3, 4, 7, 8) else 0.0
    return upright, (left, top, left + across, top + down)
