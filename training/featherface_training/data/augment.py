"""Augmentation: crops at several scales, zoom-out, rotation, mosaic, flip, copies, colour, degradation."""

import math
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .labels import join_labels, mirror_labels, place_labels, rotate_labels
from .paste import choose_pastes, paste
from .wider import LabelledPhoto

__all__ = [
    "BGR_MEAN",
    "AugmentSettings",
    "augment",
    "choose_angle",
    "choose_square",
    "mosaic",
]

BGR_MEAN = (104, 117, 123)
# beyond it a crop has no detail that it could teach
_LARGEST_ZOOM = 3
# of a close-up, which teaches the size of a face rather than its detail
_LARGEST_CLOSE_UP_ZOOM = 6
# side of a close-up, in the face's longer sides
_CLOSE_UP_SIDES = (1.1, 2.0)


@dataclass(frozen=True, slots=True)
class AugmentSettings:
    """Settings of `augment` and `mosaic`.

    Attributes
    ----------
    scales : tuple of float
        Sides of the crops, as multiples of a photo's short side; above 1 zooms out.
    degrade : float
        Probability of blur, noise or compression.
    mosaic : float
        Probability of a sample made of four.
    close_up : float
        Probability that a crop is filled by the photo's largest face: photos of many people have few faces of
        hundreds of pixels.
    close_up_from : int
        Sides of the crops of which some are such, pixels.
    rotate : float
        Probability that a crop is rotated: most of them a little, a fifth of them beyond a right angle.
    shrink : {"mixed", "deployed"}
        How crops are made smaller: by OpenCV's area or bilinear, which aliases, by turns; or as
        `featherface.resize` does, by Pillow's bilinear, which is smoother than both. Crops made on a device
        are always sampled at four points a pixel.
    paste : float
        Probability that a crop gets smaller copies of its own faces, see `choose_pastes`.
    """

    scales: tuple[float, ...] = (0.3, 0.45, 0.6, 0.8, 1.0, 1.3)
    degrade: float = 0.0
    mosaic: float = 0.0
    close_up: float = 0.0
    close_up_from: int = 512
    rotate: float = 0.0
    shrink: Literal["mixed", "deployed"] = "mixed"
    paste: float = 0.0


def choose_square(
    rng: np.random.Generator,
    height: int,
    width: int,
    boxes: NDArray[np.float32],
    settings: AugmentSettings,
    size: int,
) -> tuple[int, int, int]:
    """Choose side, left and top of a crop, usually around one of the faces. It may reach past the photo."""
    # the first test keeps the random numbers of a run without close-ups what they were
    if (
        settings.close_up
        and size >= settings.close_up_from
        and len(boxes)
        and rng.random() < settings.close_up
    ):
        return _close_up(rng, boxes, size)
    side = max(int(rng.choice(settings.scales) * min(height, width)), size // _LARGEST_ZOOM)

    def place(extent: int, around: float | None) -> int:
        low, high = min(0, extent - side), max(0, extent - side)
        if around is not None:
            low, high = max(low, int(around) - side + 1), min(high, int(around))
        return int(rng.integers(low, max(low, high) + 1))

    if len(boxes) and rng.random() < 0.9:
        box = boxes[rng.integers(len(boxes))]
        return side, place(width, (box[0] + box[2]) / 2), place(height, (box[1] + box[3]) / 2)
    return side, place(width, None), place(height, None)


def _close_up(rng: np.random.Generator, boxes: NDArray[np.float32], size: int) -> tuple[int, int, int]:
    """Choose side, left and top of a crop that holds all of the largest face and little else."""
    sides = boxes[:, 2:] - boxes[:, :2]
    largest = sides.prod(1).argmax()
    side = max(int(sides[largest].max() * rng.uniform(*_CLOSE_UP_SIDES)), size // _LARGEST_CLOSE_UP_ZOOM)
    left, top = (boxes[largest, :2] - (side - sides[largest]) * rng.random(2)).astype(int).tolist()
    return side, left, top


def choose_angle(rng: np.random.Generator, settings: AugmentSettings) -> float:
    """Choose by how much to rotate a crop, in radians, clockwise as seen; 0 for most."""
    # the first test keeps the random numbers of a run without rotation what they were
    if settings.rotate and rng.random() < settings.rotate:
        return math.pi * float(rng.uniform(-1, 1)) ** 3
    return 0.0


def _cut(pixels: NDArray[np.uint8], left: int, top: int, side: int) -> NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + side, width), min(top + side, height)
    inside = pixels[y0:y1, x0:x1]
    if inside.shape[:2] == (side, side):
        return inside
    canvas = np.empty((side, side, 3), np.uint8)
    canvas[:] = BGR_MEAN
    canvas[y0 - top : y1 - top, x0 - left : x1 - left] = inside
    return canvas


def _resized(pixels: NDArray[np.uint8], size: int, way: int | None) -> NDArray[np.uint8]:
    """Resize a square by OpenCV's interpolation `way`, or as photos are where faces are detected."""
    if way is None:
        return np.array(Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR))
    return cv2.resize(pixels, (size, size), interpolation=way)


def _cut_rotated(
    pixels: NDArray[np.uint8], left: int, top: int, side: int, angle: float, size: int, way: int | None
) -> NDArray[np.uint8]:
    """Cut a square that was rotated about its centre, at the scale that brings it to `size` pixels."""
    reach = abs(math.cos(angle)) + abs(math.sin(angle))
    # an upright square that holds the rotated one: resizing it first shrinks without aliasing
    outer = math.ceil(side * reach)
    margin = (outer - side) // 2
    upright = _cut(pixels, left - margin, top - margin, outer)
    scaled = max(1, round(outer * size / side))
    upright = _resized(upright, scaled, way)
    factor = scaled / outer
    centre = (margin + side / 2) * factor - 0.5
    matrix = cv2.getRotationMatrix2D((centre, centre), -math.degrees(angle), size / (side * factor))
    matrix[:, 2] += (size - 1) / 2 - centre
    return cv2.warpAffine(upright, matrix, (size, size), flags=cv2.INTER_LINEAR, borderValue=BGR_MEAN)


def _distort(rng: np.random.Generator, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Vary brightness, contrast, saturation, hue, and now and then drop the colour altogether."""
    if rng.random() < 0.08:
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        image = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
    elif rng.random() < 0.5:
        hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
        saturation = np.clip(np.arange(256) * rng.uniform(0.5, 1.5), 0, 255).astype(np.uint8)
        hue = ((np.arange(256) + rng.integers(-9, 10)) % 180).astype(np.uint8)
        hsv[..., 0] = hue[hsv[..., 0]]
        hsv[..., 1] = saturation[hsv[..., 1]]
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
    if rng.random() < 0.6:
        table = np.arange(256) * rng.uniform(0.6, 1.4) + rng.uniform(-32, 32)
        image = np.clip(table, 0, 255).astype(np.uint8)[image]
    return image


def _degrade(rng: np.random.Generator, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Blur, add noise, or compress: what cameras and uploads do to a photo."""
    kind = rng.integers(3)
    if kind == 0:
        return cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.4, 1.8)))
    if kind == 1:
        noise = rng.normal(0, rng.uniform(2, 10), image.shape)
        return np.clip(image + noise, 0, 255).astype(np.uint8)
    _, coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 80))])
    return cv2.imdecode(coded, cv2.IMREAD_COLOR)


def augment(
    rng: np.random.Generator,
    pixels: NDArray[np.uint8],
    photo: LabelledPhoto,
    size: int,
    settings: AugmentSettings,
) -> tuple[NDArray[np.uint8], LabelledPhoto]:
    """Cut, resize, rotate, flip and recolour one training sample.

    Parameters
    ----------
    rng : numpy.random.Generator
        The only source of randomness.
    pixels : ndarray, shape (H, W, 3), uint8
        BGR photo; not modified.
    photo : LabelledPhoto
        Its labels, in its pixels.
    size : int
        Side of the result in pixels.
    settings : AugmentSettings
        Scales and probabilities.

    Returns
    -------
    image : ndarray, shape (size, size, 3), uint8
    labels : LabelledPhoto
        In pixels of the result: faces whose centre lies in the crop, their boxes clipped to it. Landmarks are
        not clipped: one may lie outside the crop.
    """
    height, width = pixels.shape[:2]
    side, left, top = choose_square(rng, height, width, photo.boxes, settings, size)
    angle = choose_angle(rng, settings)
    ways = (cv2.INTER_AREA, cv2.INTER_LINEAR) if side > size else (cv2.INTER_LINEAR, cv2.INTER_CUBIC)
    way: int | None = ways[rng.integers(2)]
    if side > size and settings.shrink == "deployed":
        way = None
    if angle:
        image = _cut_rotated(pixels, left, top, side, angle, size, way)
    else:
        image = _resized(_cut(pixels, left, top, side), size, way)
    labels = place_labels(rotate_labels(photo, left, top, side, angle), left, top, side, size / side, size)
    if rng.random() < 0.5:
        image, labels = image[:, ::-1], mirror_labels(labels, size)
    image = _distort(rng, np.ascontiguousarray(image))
    if rng.random() < settings.degrade:
        image = _degrade(rng, image)
    pastes, labels = choose_pastes(rng, labels, size, settings.paste)
    return paste(image, pastes), labels


def mosaic(
    rng: np.random.Generator,
    parts: list[tuple[NDArray[np.uint8], LabelledPhoto]],
    size: int,
    settings: AugmentSettings,
) -> tuple[NDArray[np.uint8], LabelledPhoto]:
    """Put four samples of half the side together, each augmented on its own (Bochkovskiy et al., 2020).

    Parameters and results are those of `augment`; `parts` are four photos and their labels.
    """
    half = size // 2
    image = np.empty((size, size, 3), np.uint8)
    labels = []
    for part, (top, left) in zip(parts, ((0, 0), (0, half), (half, 0), (half, half)), strict=True):
        image[top : top + half, left : left + half], tile_labels = augment(rng, *part, half, settings)
        labels.append(tile_labels)
    return image, join_labels(labels, half)
