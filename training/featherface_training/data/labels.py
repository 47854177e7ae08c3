"""Labels moved along with the pixels that a crop takes of a photo."""

import math

import numpy as np
from numpy.typing import NDArray

from .wider import LabelledPhoto

__all__ = ["join_labels", "mirror_labels", "place_labels", "rotate_labels"]

# the other eye and mouth corner after a mirror
_MIRRORED = [1, 0, 2, 4, 3]


def place_labels(
    photo: LabelledPhoto, left: int, top: int, side: int, factor: float, size: int
) -> LabelledPhoto:
    """Move labels into the crop's frame; faces and regions whose centre is outside are dropped."""
    origin = np.array([left, top], np.float32)

    def inside(boxes: NDArray[np.float32]) -> NDArray[np.bool_]:
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2 - origin
        return ((centres >= 0) & (centres < side)).all(1)

    def move(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.clip((boxes - np.tile(origin, 2)) * np.float32(factor), 0, size)

    kept = inside(photo.boxes)
    # a region is kept as far as it is seen: its loss must stay away wherever its centre is
    ignored = move(photo.ignored)
    ignored = ignored[((ignored[:, 2:] - ignored[:, :2]) > 0).all(1)]
    landmarks = (photo.landmarks[kept] - origin) * np.float32(factor)
    return LabelledPhoto(photo.name, move(photo.boxes[kept]), landmarks, ignored, photo.heights[kept])


def rotate_labels(photo: LabelledPhoto, left: int, top: int, side: int, angle: float) -> LabelledPhoto:
    """Rotate labels about the centre of a square, clockwise as seen, by `angle` radians.

    A face's new box is that of the ellipse that its old one holds: heads are round, and the rotated corners'
    box would be up to twice as large. An ignored region's holds its corners.
    """
    if angle == 0:
        return photo
    cosine, sine = math.cos(angle), math.sin(angle)
    rotation = np.array([[cosine, sine], [-sine, cosine]], np.float32)
    origin = np.array([left, top], np.float32) + np.float32(side / 2)

    def move(points: NDArray[np.float32]) -> NDArray[np.float32]:
        return (points - origin) @ rotation + origin

    def bounds(boxes: NDArray[np.float32], power: int) -> NDArray[np.float32]:
        centres = move((boxes[:, :2] + boxes[:, 2:]) / 2)
        half = (boxes[:, 2:] - boxes[:, :2]) / 2
        reach = (half**power @ np.abs(rotation) ** power) ** np.float32(1 / power)
        return np.concatenate([centres - reach, centres + reach], 1)

    return LabelledPhoto(
        photo.name,
        bounds(photo.boxes, 2),
        move(photo.landmarks),
        bounds(photo.ignored, 1),
        photo.heights,
    )


def mirror_labels(photo: LabelledPhoto, size: int) -> LabelledPhoto:
    """Mirror labels in a frame of `size` pixels; left and right landmarks change places."""

    def flip(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        flipped = boxes[:, [2, 1, 0, 3]].copy()
        flipped[:, [0, 2]] = size - flipped[:, [0, 2]]
        return flipped

    landmarks = photo.landmarks[:, _MIRRORED].copy()
    landmarks[:, :, 0] = size - landmarks[:, :, 0]
    return LabelledPhoto(photo.name, flip(photo.boxes), landmarks, flip(photo.ignored), photo.heights)


def join_labels(tiles: list[LabelledPhoto], half: int) -> LabelledPhoto:
    """Put the labels of four tiles of side `half` into one frame: top left, top right, then the row below."""
    corners = [np.array(c, np.float32) for c in ((0, 0), (half, 0), (0, half), (half, half))]
    moved = [
        (tile.boxes + np.tile(c, 2), tile.landmarks + c, tile.ignored + np.tile(c, 2), tile.heights)
        for tile, c in zip(tiles, corners, strict=True)
    ]
    return LabelledPhoto(tiles[0].name, *(np.concatenate(parts) for parts in zip(*moved, strict=True)))
