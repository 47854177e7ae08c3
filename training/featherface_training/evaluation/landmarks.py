"""How far landmarks are off, normalised by the face's size, on photos of one face with 68 known points."""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featherface import Detections

from .errors import EvaluationError

__all__ = ["LandmarkError", "five_points", "landmark_error", "read_keypoints"]

# iBUG 300-W's 68 points: the eyes' outlines, the tip of the nose, the mouth's corners
_EYES, _NOSE, _MOUTH = ((36, 42), (42, 48)), 30, (48, 54)


@dataclass(frozen=True, slots=True)
class LandmarkError:
    """Landmarks against known ones.

    Attributes
    ----------
    photos : int
        Photos of one face each.
    found : int
        In how many that face was found.
    mean : float
        Of the five distances, each over the square root of the area of the face's 68 points; NaN if none was
        found.
    """

    photos: int
    found: int
    mean: float


def five_points(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn 68 points (68, 2) into the five: eyes, nose, mouth corners, image left first."""
    eyes = [points[a:b].mean(0) for a, b in _EYES]
    return np.stack([*eyes, points[_NOSE], *points[list(_MOUTH)]])


def read_keypoints(path: Path) -> dict[str, NDArray[np.float64]]:
    """Read a CSV table: a heading, then a file's name and 68 times x and y in pixels a line.

    Returns
    -------
    dict of str to ndarray, shape (68, 2), float64

    Raises
    ------
    EvaluationError
        If a line is something else.
    """
    with path.open(newline="") as lines:
        rows = list(csv.reader(lines))[1:]
    try:
        return {row[0]: np.array(row[1:137], float).reshape(68, 2) for row in rows}
    except (ValueError, IndexError) as error:
        raise EvaluationError(f"{path}: expected a file's name and 136 numbers a line") from error


def landmark_error(
    detect: Callable[[bytes], Detections], photos: Path, keypoints: dict[str, NDArray[np.float64]]
) -> LandmarkError:
    """Detect the face of each photo and measure its landmarks.

    Parameters
    ----------
    detect : callable
        From `open_faces`.
    photos : Path
        Folder of the photos named in `keypoints`; those that are not there are left out.
    keypoints : dict
        From `read_keypoints`.

    Raises
    ------
    EvaluationError
        If no photo is there.
    """
    errors = []
    seen = 0
    for name, points in keypoints.items():
        path = photos / name
        if not path.is_file():
            continue
        seen += 1
        low, high = points.min(0), points.max(0)
        x, y = (low + high) / 2
        around = [
            face
            for face in detect(path.read_bytes()).faces
            if face.box.left <= x <= face.box.right and face.box.top <= y <= face.box.bottom
        ]
        if around:
            best = max(around, key=lambda face: face.confidence)
            found = np.array([(point.x, point.y) for _, point in best.landmarks.items()])
            distances = np.linalg.norm(found - five_points(points), axis=1)
            errors.append(distances.mean() / np.sqrt((high - low).prod()))
    if not seen:
        raise EvaluationError(f"none of the {len(keypoints)} photos of the table lies in {photos}")
    return LandmarkError(seen, len(errors), float(np.mean(errors)) if errors else float("nan"))
