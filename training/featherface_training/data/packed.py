"""A packed, pre-decoded data set: decoding JPEGs would cost a small model's training more than its steps."""

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from .photos import read_pixels
from .wider import LabelledPhoto

__all__ = ["PackedDataset", "is_packed", "pack"]


def pack(photos: Sequence[tuple[Path, LabelledPhoto]], target: Path, *, limit: int = 1280) -> None:
    """Decode labelled photos once, into `target`.

    Writes `pixels.bin` (BGR uint8 rows, photo after photo), `index.json` (name, size, offset) and
    `faces.npz` (boxes, landmarks, ignored regions, and the photo that each belongs to). WIDER's photos take
    about 2 MB each.

    Parameters
    ----------
    photos : sequence of (Path, LabelledPhoto)
        From `read_wider` or `read_annotations`.
    target : Path
        Folder to create. An existing complete pack is left as it is.
    limit : int
        Photos with a longer side, in pixels, are shrunk to it, and their labels with them.

    Raises
    ------
    ValueError
        If a photo can't be read.
    """
    if is_packed(target):
        return
    target.mkdir(parents=True, exist_ok=True)
    index: list[dict[str, object]] = []
    columns: dict[str, list[NDArray[Any]]] = {
        "boxes": [],
        "landmarks": [],
        "owners": [],
        "ignored": [],
        "ignored_owners": [],
    }
    offset = 0
    with (target / "pixels.bin").open("wb") as out:
        for path, photo in tqdm(photos, desc=f"packing {target.name}", unit="photo", disable=None):
            pixels = read_pixels(path)
            factor = min(1.0, limit / max(pixels.shape[:2]))
            if factor < 1:
                pixels = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
            out.write(pixels.tobytes())
            columns["owners"].append(np.full(len(photo.boxes), len(index), np.int32))
            columns["boxes"].append(photo.boxes * np.float32(factor))
            columns["landmarks"].append(photo.landmarks * np.float32(factor))
            columns["ignored_owners"].append(np.full(len(photo.ignored), len(index), np.int32))
            columns["ignored"].append(photo.ignored * np.float32(factor))
            index.append(
                {"name": photo.name, "height": pixels.shape[0], "width": pixels.shape[1], "offset": offset}
            )
            offset += pixels.size
    np.savez(target / "faces.npz", **{name: np.concatenate(parts) for name, parts in columns.items()})
    # written last: its presence says that the pack is whole
    (target / "index.json").write_text(json.dumps(index))


def is_packed(target: Path) -> bool:
    """Return whether `pack` has finished there."""
    return (target / "index.json").is_file()


class PackedDataset:
    """Random access to the photos of a pack, without copying until a crop is taken.

    Parameters
    ----------
    folder : Path
        What `pack` wrote.

    Attributes
    ----------
    index : list of dict
        name, height, width and offset of each photo.
    pixels : ndarray, shape (N,), uint8
        The photos' BGR rows one after the other, mapped from the file.
    """

    def __init__(self, folder: Path) -> None:
        self.index = json.loads((folder / "index.json").read_text())
        # an .npz reads an array anew at every access
        with np.load(folder / "faces.npz") as archive:
            faces = dict(archive)

        def by_photo(name: str, owners: str) -> list[NDArray[np.float32]]:
            bounds = np.searchsorted(faces[owners], np.arange(len(self.index) + 1))
            return [faces[name][a:b] for a, b in pairwise(bounds)]

        self._boxes = by_photo("boxes", "owners")
        self._landmarks = by_photo("landmarks", "owners")
        self._ignored = by_photo("ignored", "ignored_owners")
        self.pixels: NDArray[np.uint8] = np.memmap(folder / "pixels.bin", np.uint8, "r")

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, i: int) -> tuple[NDArray[np.uint8], LabelledPhoto]:
        """Return a read-only view of photo `i`, shape (H, W, 3) BGR, and its faces."""
        entry = self.index[i]
        size = entry["height"] * entry["width"] * 3
        pixels = self.pixels[entry["offset"] : entry["offset"] + size]
        return pixels.reshape(entry["height"], entry["width"], 3), self.labels(i)

    def labels(self, i: int) -> LabelledPhoto:
        """Return the faces of photo `i` without its pixels."""
        return LabelledPhoto(self.index[i]["name"], self._boxes[i], self._landmarks[i], self._ignored[i])
