"""What is known of photos beside what detectors find in them, and what it says about their findings."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from .data.animals import read_animals
from .data.heads import around, heads_file, read_heads
from .data.poses import read_pose_heads
from .evaluation.boxes import inside, overlaps
from .evaluation.landmarks import five_points, read_keypoints

__all__ = [
    "Findings",
    "Knowledge",
    "KnownAnimals",
    "KnownBoxes",
    "KnownHeads",
    "KnownPoints",
    "KnownPoses",
    "read_voc",
]

# of a finding and a known box that mean the same face, for its landmarks; and of one that may
_SAME, _PERHAPS = 0.5, 0.35


@dataclass(frozen=True, slots=True)
class Findings:
    """Labels of a photo.

    Attributes
    ----------
    boxes : ndarray, shape (F, 4), float64
        left, top, right, bottom of the faces, pixels of the photo.
    landmarks : ndarray, shape (F, 5, 2), float64
        NaN where not known.
    ignored : ndarray, shape (G, 4), float64
        Regions that are neither face nor background.
    """

    boxes: NDArray[np.float64]
    landmarks: NDArray[np.float64]
    ignored: NDArray[np.float64]


class Knowledge(Protocol):
    """Labels of others for the photos of a folder.

    Attributes
    ----------
    name : str
        Of what is known.
    """

    name: str

    def covers(self, photo: Path) -> bool:
        """Tell whether a photo may be labelled: not if it should be known and isn't."""
        ...

    def correct(self, photo: Path, found: Findings) -> Findings | None:
        """Return better labels of a photo that is covered; None if what is known doesn't fit them."""
        ...


def read_voc(path: Path) -> NDArray[np.float64]:
    """Read the boxes of a Pascal VOC file, whatever their names: shape (F, 4)."""
    boxes = [
        [float(box.findtext(side, "nan")) for side in ("xmin", "ymin", "xmax", "ymax")]
        for box in ElementTree.parse(path).getroot().iter("bndbox")
    ]
    found = np.array(boxes, float).reshape(-1, 4)
    return found[((found[:, 2:] - found[:, :2]) >= 1).all(1)]


class KnownBoxes:
    """Faces in Pascal VOC files, by the photos' stems: what nobody labelled there is ignored.

    Parameters
    ----------
    folder : Path
        Searched to the bottom.
    """

    name = "boxes"

    def __init__(self, folder: Path) -> None:
        self._files = {path.stem: path for path in folder.rglob("*.xml")}

    def covers(self, photo: Path) -> bool:
        """Tell whether the photo's boxes are known."""
        return photo.stem in self._files

    def correct(self, photo: Path, found: Findings) -> Findings:
        """Take the known boxes, with the landmarks of the findings that mean the same faces."""
        known = read_voc(self._files[photo.stem])
        regions = np.concatenate([found.boxes, found.ignored])
        iou = overlaps(known, regions)
        unlabelled = iou.max(0) < _PERHAPS if len(known) else np.ones(len(regions), bool)
        points = np.full((len(known), 5, 2), np.nan)
        faces = iou[:, : len(found.boxes)]
        for row, face in enumerate(faces.argmax(1) if len(found.boxes) else ()):
            if faces[row, face] >= _SAME:
                points[row] = found.landmarks[face]
        return Findings(known, points, regions[unlabelled])


class KnownPoints:
    """68 points of the one face of each photo, by the photos' names: its landmarks.

    Parameters
    ----------
    table : Path
        For `read_keypoints`.
    """

    name = "points"

    def __init__(self, table: Path) -> None:
        self._points = read_keypoints(table)

    def covers(self, photo: Path) -> bool:
        """Tell whether the photo's points are known."""
        return photo.name in self._points

    def correct(self, photo: Path, found: Findings) -> Findings | None:
        """Take the known landmarks; None unless one finding lies where they do."""
        points = self._points[photo.name]
        its = inside((points.min(0) + points.max(0))[None] / 2, found.boxes)[0]
        if its.sum() != 1:
            return None
        landmarks = found.landmarks.copy()
        landmarks[its] = five_points(points)
        return Findings(found.boxes, landmarks, found.ignored)


class KnownAnimals:
    """Animals, by the photos' names; where none is known the photo is labelled as any other.

    Parameters
    ----------
    labels : Path
        For `read_animals`.
    """

    name = "animals"

    def __init__(self, labels: Path) -> None:
        self._animals = read_animals(labels)

    def covers(self, photo: Path) -> bool:
        """Tell that every photo may be labelled."""
        return True

    def correct(self, photo: Path, found: Findings) -> Findings:
        """Take findings on an animal's head away, and those over its body for doubtful."""
        if photo.name not in self._animals:
            return found
        there = self._animals[photo.name]
        held = there.hold(found.boxes)
        # a face over an animal's body is anyone's guess: its owner's, or a pattern in its fur
        doubtful = np.concatenate([found.ignored, found.boxes[held]])
        return Findings(found.boxes[~held], found.landmarks[~held], doubtful[~there.show_in(doubtful)])


def _ignoring_faceless(found: Findings, heads: NDArray[np.float64], squares: NDArray[np.float64]) -> Findings:
    """Ignore the squares (H, 4) about those heads (H, 2) that no finding holds."""
    told = inside(heads, np.concatenate([found.boxes, found.ignored])).any(1)
    return Findings(found.boxes, found.landmarks, np.concatenate([found.ignored, squares[~told]]))


class KnownHeads:
    """Heads as ShanghaiTech marks them: those on which no face was found are ignored."""

    name = "heads"

    def covers(self, photo: Path) -> bool:
        """Tell whether the photo's heads are known."""
        return heads_file(photo).is_file()

    def correct(self, photo: Path, found: Findings) -> Findings:
        """Ignore the heads that no finding holds."""
        heads = read_heads(heads_file(photo))
        return _ignoring_faceless(found, heads, around(heads))


class KnownPoses:
    """Heads of people at sport, by the photos' names: one on which no face was found is ignored.

    Parameters
    ----------
    joints : Path
        For `read_pose_heads`.
    """

    name = "poses"

    def __init__(self, joints: Path) -> None:
        self._heads = read_pose_heads(joints)

    def covers(self, photo: Path) -> bool:
        """Tell whether the photo's head is known."""
        return photo.name in self._heads

    def correct(self, photo: Path, found: Findings) -> Findings:
        """Ignore the head unless a finding holds its middle."""
        square = self._heads[photo.name][None]
        return _ignoring_faceless(found, (square[:, :2] + square[:, 2:]) / 2, square)
