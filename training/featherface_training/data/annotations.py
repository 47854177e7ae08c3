"""Labels of photos beside WIDER FACE's folder, as JSON Lines: faces, and regions where nobody knows.

A line a photo: ``{"file": "a/b.jpg", "faces": [{"box": [left, top, right, bottom], "landmarks": [[x, y] * 5]
or null}], "ignored": [[left, top, right, bottom]]}``, pixels of the stored photo, paths relative to a folder.
A photo without faces is an example of what is no face. `featherface_training.pseudo_label` writes such files.
Photos of WIDER FACE that lie elsewhere, as some do in other data sets, keep WIDER's own labels.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from .wider import LabelError, LabelledPhoto, present_photos

__all__ = ["read_annotations", "split_source", "write_annotations"]


def split_source(item: str) -> tuple[str, Path, Path]:
    """Split a command line's NAME=LABELS:PHOTOS into the name of a data set and its two paths.

    Raises
    ------
    LabelError
        If a part is missing.
    """
    name, _, source = item.partition("=")
    labels, _, photos = source.rpartition(":")
    if not (name and labels and photos):
        raise LabelError(f"expected NAME=LABELS:PHOTOS, such as animals=animals.jsonl:photos, got {item!r}")
    return name, Path(labels), Path(photos)


def read_annotations(path: Path, photos: Path) -> list[tuple[Path, LabelledPhoto]]:
    """Pair the labels with their photos.

    Parameters
    ----------
    path : Path
        The JSON Lines file, or WIDER FACE's `label.txt` or `label.txt.gz`, see `read_labels`.
    photos : Path
        The folder that its paths start from. Of WIDER FACE it may hold a part.

    Raises
    ------
    LabelError
        If a line is malformed, or JSON Lines name a photo that is not there, or no photo is there.
    """
    if ".txt" in path.suffixes:
        return present_photos(path, photos)
    pairs = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            record = json.loads(line)
            faces = record["faces"]
            boxes = np.array([face["box"] for face in faces], np.float32).reshape(-1, 4)
            unknown = [[np.nan] * 2] * 5
            points = [face.get("landmarks") or unknown for face in faces]
            landmarks = np.array(points, np.float32).reshape(-1, 5, 2)
            ignored = np.array(record.get("ignored", []), np.float32).reshape(-1, 4)
            photo = LabelledPhoto(record["file"], boxes, landmarks, ignored)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise LabelError(f"{path}:{number}: expected a photo's labels, got {line[:80]!r}") from error
        if not (photos / photo.name).is_file():
            raise LabelError(
                f"{path}:{number}: {photo.name} is not under {photos}: name the folder of the photos"
            )
        pairs.append((photos / photo.name, photo))
    if not pairs:
        raise LabelError(f"{path} holds no photo")
    return pairs


def write_annotations(path: Path, photos: Iterable[LabelledPhoto]) -> int:
    """Write labels, whole or not at all, and return the number of photos."""
    temporary = path.with_suffix(path.suffix + ".tmp")
    count = 0
    with temporary.open("w") as out:
        for photo in photos:
            faces = [
                {
                    "box": [round(float(v), 1) for v in box],
                    "landmarks": np.round(points.astype(float), 1).tolist()
                    if np.isfinite(points).all()
                    else None,
                }
                for box, points in zip(photo.boxes, photo.landmarks, strict=True)
            ]
            ignored = np.round(photo.ignored.astype(float), 1).tolist()
            out.write(json.dumps({"file": photo.name, "faces": faces, "ignored": ignored}) + "\n")
            count += 1
    temporary.replace(path)
    return count
