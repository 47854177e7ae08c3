"""COCO: one JSON file with images, boxes, and the five landmarks as key points."""

from __future__ import annotations

import json
import shutil
import tempfile
from contextlib import ExitStack
from types import TracebackType
from typing import IO, Any, Final, Self

from featherface import __version__
from featherface_batch.records import Outcome
from featherface_batch.storage import Storage

__all__ = ["CocoSink"]

_LANDMARKS: Final = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
_CATEGORY: Final = {
    "id": 1,
    "name": "face",
    "supercategory": "person",
    "keypoints": list(_LANDMARKS),
    "skeleton": [[1, 3], [2, 3], [3, 4], [3, 5]],
}
_VISIBLE: Final = 2
_SPOOL_BYTES: Final = 16 * 1024 * 1024


class CocoSink:
    """``coco.json``; ids count from 1 in the run's order, ``score`` is the confidence.

    Parameters
    ----------
    storage : Storage
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._stack = ExitStack()
        self._images = self._faces = 0

    def __enter__(self) -> Self:
        self._file: IO[bytes] = self._stack.enter_context(self._storage.writer("coco.json"))
        # The format wants all images before all boxes; the boxes wait on disk, not in memory.
        self._boxes: IO[bytes] = self._stack.enter_context(
            tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES)
        )
        head = {"info": {"description": "Faces found by FeatherFace", "version": __version__}, "licenses": []}
        self._file.write(_json(head)[:-1] + b',"categories":' + _json([_CATEGORY]) + b',"images":[')
        return self

    def add(self, outcome: Outcome) -> None:
        """Write a photo's entry and its faces; an error has no place in this format."""
        if outcome.detections is None:
            return
        size = outcome.detections["image"]
        self._file.write(b",\n" if self._images else b"\n")
        self._images += 1
        self._file.write(_json({"id": self._images, "file_name": outcome.photo.key, **size}))
        for face in outcome.detections["faces"]:
            self._boxes.write(b",\n" if self._faces else b"\n")
            self._faces += 1
            self._boxes.write(_json(_annotation(face, self._faces, self._images)))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack.pop_all() as stack:
            if error is not None:
                stack.__exit__(kind, error, trace)
                return
            self._file.write(b'\n],"annotations":[')
            self._boxes.seek(0)
            shutil.copyfileobj(self._boxes, self._file)
            self._file.write(b"\n]}\n")


def _annotation(face: dict[str, Any], number: int, image: int) -> dict[str, Any]:
    box = face["box"]
    points = [face["landmarks"][name] for name in _LANDMARKS]
    return {
        "id": number,
        "image_id": image,
        "category_id": _CATEGORY["id"],
        "bbox": [box["left"], box["top"], box["width"], box["height"]],
        "area": round(box["width"] * box["height"], 2),
        "iscrowd": 0,
        "score": face["confidence"],
        "num_keypoints": len(points),
        "keypoints": [value for point in points for value in (point["x"], point["y"], _VISIBLE)],
    }


def _json(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
