"""Photos of other data sets, to be looked at as the protocol looks at WIDER FACE's."""

from pathlib import Path

import numpy as np

from ..data.annotations import read_annotations
from ..evaluation.fit import by_height
from ..evaluation.ground_truth import GroundTruth, PhotoTruth
from ..evaluation.protocol import DIFFICULTIES

__all__ = ["other_photos"]


def other_photos(labels: Path, folder: Path) -> tuple[GroundTruth, dict[str, Path]]:
    """Return the faces of all photos of a data set, by photo, and where the photos lie.

    Parameters
    ----------
    labels : Path
        See `featherface_training.data.annotations`. Regions where nobody knows are faces that don't count.
    folder : Path
        The folder that its paths start from.

    Raises
    ------
    LabelError
        If a line is malformed or names a photo that is not there.
    """
    truth, photos = {}, {}
    for path, photo in read_annotations(labels, folder):
        boxes = np.concatenate([photo.boxes, photo.ignored]).astype(np.float64)
        boxes[:, 2:] -= boxes[:, :2]
        counted = by_height(boxes).counted
        known = np.arange(len(boxes)) < len(photo.boxes)
        truth[photo.name] = PhotoTruth(boxes, {level: counted[level] & known for level in DIFFICULTIES})
        photos[photo.name] = path
    return truth, photos
