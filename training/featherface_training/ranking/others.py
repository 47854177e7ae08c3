"""Photos of other data sets, to be looked at as the protocol looks at WIDER FACE's."""

from pathlib import Path

from ..data.annotations import read_annotations
from ..evaluation.fit import labelled_truth
from ..evaluation.ground_truth import GroundTruth

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
    pairs = read_annotations(labels, folder)
    truth = {photo.name: labelled_truth(photo) for _, photo in pairs}
    return truth, {photo.name: path for path, photo in pairs}
