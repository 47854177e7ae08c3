"""Augmentation: random square crops at several scales, zoom-out, flip, colour."""

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["BGR_MEAN", "augment"]

BGR_MEAN = (104, 117, 123)
# the other eye and mouth corner after a mirror
_MIRRORED = [1, 0, 2, 4, 3]


def _square(
    rng: np.random.Generator, height: int, width: int, boxes: NDArray[np.float32], scales: tuple[float, ...]
) -> tuple[int, int, int]:
    """Choose side, left and top of a crop, usually around one of the faces. It may reach past the photo."""
    side = max(int(rng.choice(scales) * min(height, width)), 32)

    def place(extent: int, around: float | None) -> int:
        low, high = min(0, extent - side), max(0, extent - side)
        if around is not None:
            low, high = max(low, int(around) - side + 1), min(high, int(around))
        return int(rng.integers(low, max(low, high) + 1))

    if len(boxes) and rng.random() < 0.9:
        box = boxes[rng.integers(len(boxes))]
        return side, place(width, (box[0] + box[2]) / 2), place(height, (box[1] + box[3]) / 2)
    return side, place(width, None), place(height, None)


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


def augment(
    rng: np.random.Generator,
    pixels: NDArray[np.uint8],
    boxes: NDArray[np.float32],
    landmarks: NDArray[np.float32],
    size: int,
    scales: tuple[float, ...],
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
    """Cut, resize, flip and recolour one training sample.

    Parameters
    ----------
    rng : numpy.random.Generator
        The only source of randomness.
    pixels : ndarray, shape (H, W, 3), uint8
        BGR photo; not modified.
    boxes : ndarray, shape (F, 4), float32
        left, top, right, bottom in pixels of the photo.
    landmarks : ndarray, shape (F, 5, 2), float32
        NaN where unknown.
    size : int
        Side of the result in pixels.
    scales : tuple of float
        The crop's side is drawn from these multiples of the photo's short side; above 1 zooms out.

    Returns
    -------
    image : ndarray, shape (size, size, 3), uint8
    boxes : ndarray, shape (K, 4), float32
        Faces whose centre lies in the crop, clipped to it, in pixels of the result.
    landmarks : ndarray, shape (K, 5, 2), float32
        Not clipped: a landmark may lie outside the crop.
    """
    height, width = pixels.shape[:2]
    side, left, top = _square(rng, height, width, boxes, scales)
    crop = _cut(pixels, left, top, side)
    ways = (cv2.INTER_AREA, cv2.INTER_LINEAR) if side > size else (cv2.INTER_LINEAR, cv2.INTER_CUBIC)
    image = cv2.resize(crop, (size, size), interpolation=ways[rng.integers(2)])
    factor = size / side
    origin = np.array([left, top], np.float32)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2 - origin
    kept = ((centres >= 0) & (centres < side)).all(1)
    boxes = np.clip((boxes[kept] - np.tile(origin, 2)) * factor, 0, size)
    landmarks = (landmarks[kept] - origin) * factor
    if rng.random() < 0.5:
        image = image[:, ::-1]
        boxes = boxes[:, [2, 1, 0, 3]].copy()
        boxes[:, [0, 2]] = size - boxes[:, [0, 2]]
        landmarks = landmarks[:, _MIRRORED].copy()
        landmarks[:, :, 0] = size - landmarks[:, :, 0]
    return np.ascontiguousarray(_distort(rng, image)), boxes, landmarks
