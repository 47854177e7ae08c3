"""Reading WIDER FACE (Yang et al., CVPR 2016) labels in the RetinaFace `label.txt` layout."""

import gzip
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["LabelError", "LabelledPhoto", "find_image_root", "present_photos", "read_labels", "read_wider"]


class LabelError(ValueError):
    """The label file or the folder of photos is not what was expected."""


@dataclass(frozen=True, slots=True)
class LabelledPhoto:
    """One photo and its faces.

    Attributes
    ----------
    name : str
        `event/file.jpg`.
    boxes : ndarray, shape (F, 4), float32
        left, top, right, bottom in pixels of the photo.
    landmarks : ndarray, shape (F, 5, 2), float32
        Left eye, right eye, nose, left and right mouth corner (image left first); NaN where unknown.
    ignored : ndarray, shape (G, 4), float32
        Regions in which nobody knows whether there is a face.
    heights : ndarray, shape (F,), float32
        Of the faces, in pixels of the photo as it is stored, whatever was done to `boxes` since; those of
        `boxes` if omitted.
    """

    name: str
    boxes: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    ignored: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 4), np.float32))
    heights: NDArray[np.float32] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.heights is None:
            object.__setattr__(self, "heights", self.boxes[:, 3] - self.boxes[:, 1])


def _parse(name: str, rows: list[list[float]]) -> LabelledPhoto:
    table = np.array([row[:19] for row in rows], np.float32).reshape(-1, 19)
    boxes = table[:, :4].copy()
    boxes[:, 2:] += boxes[:, :2]
    points = table[:, 4:].reshape(-1, 5, 3)
    landmarks = points[:, :, :2].copy()
    # a flag of -1 on any point means that the annotators could not place this face's landmarks
    landmarks[(points[:, :, 2] < 0).any(1)] = np.nan
    usable = ((boxes[:, 2:] - boxes[:, :2]) >= 1).all(1)
    return LabelledPhoto(name, boxes[usable], landmarks[usable])


def read_labels(path: Path) -> Iterator[LabelledPhoto]:
    """Read a label file, plain or gzipped: `# event/name.jpg`, then a line per face.

    Parameters
    ----------
    path : Path
        A face's line is `x y w h`, five times `x y flag` and a score; faces without landmarks may stop after
        four numbers.

    Yields
    ------
    LabelledPhoto

    Raises
    ------
    LabelError
        If a line is neither a photo's name nor a face.
    """
    opener = gzip.open if path.suffix == ".gz" else open
    name: str | None = None
    rows: list[list[float]] = []
    with opener(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            line = line.strip()
            if line.startswith("#"):
                if name is not None:
                    yield _parse(name, rows)
                name, rows = line[1:].strip(), []
            elif line:
                try:
                    values = [float(v) for v in line.split()]
                except ValueError:
                    values = []
                if name is None or len(values) not in (4, 19, 20):
                    raise LabelError(
                        f"{path}:{number}: expected '# event/name.jpg' or a face of 4, 19 or 20 numbers, "
                        f"got {line[:80]!r}"
                    )
                rows.append(values + [-1.0] * (19 - len(values)))
    if name is not None:
        yield _parse(name, rows)


def find_image_root(wider: Path, split: str) -> Path:
    """Return the folder that holds a split's event folders (`WIDER_<split>/images` or a plain `images`).

    Raises
    ------
    LabelError
        If there is none.
    """
    for candidate in (wider / f"WIDER_{split}" / "images", wider / split / "images", wider / "images"):
        if candidate.is_dir():
            return candidate
    raise LabelError(f"expected {wider}/WIDER_{split}/images with one folder an event, found none")


def read_wider(wider: Path, labels: Path, split: str = "train") -> list[tuple[Path, LabelledPhoto]]:
    """Pair the labels with those photos that are present: a WIDER root may be partial.

    Raises
    ------
    LabelError
        If no labelled photo is present.
    """
    return present_photos(labels, find_image_root(wider, split))


def present_photos(labels: Path, root: Path) -> list[tuple[Path, LabelledPhoto]]:
    """Pair the labels of a file that `read_labels` takes with those photos that lie under `root`.

    Raises
    ------
    LabelError
        If none does.
    """
    pairs = [(root / photo.name, photo) for photo in read_labels(labels)]
    present = [(path, photo) for path, photo in pairs if path.is_file()]
    if not present:
        raise LabelError(f"none of the {len(pairs)} photos of {labels} lies under {root}")
    return present
