"""A packed, pre-decoded data set: decoding JPEGs would cost a small model's training more than its steps."""

import json
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from .wider import LabelledPhoto, read_wider

__all__ = ["PackedDataset", "pack"]


def pack(wider: Path, labels: Path, target: Path, *, split: str = "train") -> None:
    """Decode every labelled photo of a WIDER root once, into `target`.

    Writes `pixels.bin` (BGR uint8 rows, photo after photo), `index.json` (name, size, offset) and
    `faces.npz` (boxes, landmarks and the photo each face belongs to). About 2 MB a photo.

    Parameters
    ----------
    wider, labels : Path
        See `read_wider`.
    target : Path
        Folder to create. An existing complete pack is left as it is.
    split : {"train", "val"}
        Which split of the root.
    """
    if (target / "index.json").is_file():
        return
    target.mkdir(parents=True, exist_ok=True)
    index: list[dict[str, object]] = []
    boxes, landmarks, owners = [], [], []
    offset = 0
    with (target / "pixels.bin").open("wb") as out:
        for path, photo in tqdm(read_wider(wider, labels, split), desc="packing", unit="photo"):
            # WIDER's labels refer to the stored pixels: the EXIF orientation must not be applied
            pixels = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
            if pixels is None:
                raise ValueError(f"{path} is not a photo that OpenCV can read: remove or replace it")
            out.write(pixels.tobytes())
            owners.append(np.full(len(photo.boxes), len(index), np.int32))
            boxes.append(photo.boxes)
            landmarks.append(photo.landmarks)
            index.append(
                {"name": photo.name, "height": pixels.shape[0], "width": pixels.shape[1], "offset": offset}
            )
            offset += pixels.size
    np.savez(
        target / "faces.npz",
        boxes=np.concatenate(boxes),
        landmarks=np.concatenate(landmarks),
        owners=np.concatenate(owners),
    )
    # written last: its presence says that the pack is whole
    (target / "index.json").write_text(json.dumps(index))


class PackedDataset:
    """Random access to the photos of a pack, without copying until a crop is taken.

    Parameters
    ----------
    folder : Path
        What `pack` wrote.
    """

    def __init__(self, folder: Path) -> None:
        self.index = json.loads((folder / "index.json").read_text())
        # an .npz reads an array anew at every access
        with np.load(folder / "faces.npz") as archive:
            faces = dict(archive)
        bounds = np.searchsorted(faces["owners"], np.arange(len(self.index) + 1))
        self._boxes = [faces["boxes"][a:b] for a, b in pairwise(bounds)]
        self._landmarks = [faces["landmarks"][a:b] for a, b in pairwise(bounds)]
        self._pixels: NDArray[np.uint8] = np.memmap(folder / "pixels.bin", np.uint8, "r")

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, i: int) -> tuple[NDArray[np.uint8], LabelledPhoto]:
        """Return a read-only view of photo `i`, shape (H, W, 3) BGR, and its faces."""
        entry = self.index[i]
        size = entry["height"] * entry["width"] * 3
        pixels = self._pixels[entry["offset"] : entry["offset"] + size]
        photo = LabelledPhoto(entry["name"], self._boxes[i], self._landmarks[i])
        return pixels.reshape(entry["height"], entry["width"], 3), photo
