"""COCO: one JSON file with images, boxes, and the five landmarks as key points."""

from __future__ import annotations

import json
from typing import Any, Final

from featherface import __version__
from featherface_batch.records import Outcome
from featherface_batch.sections import Section
from featherface_batch.sinks.pieces import PiecesSink
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


class CocoSink(PiecesSink):
    """``coco.json``; ids count from 1 in the run's order, ``score`` is the confidence.

    The format wants all images before all boxes. What came before a section is known, so its ids are, too.

    Parameters
    ----------
    storage : Storage
    section : Section
    """

    file_name = "coco.json"
    kinds = ("images", "annotations")

    def __init__(self, storage: Storage, section: Section) -> None:
        super().__init__(storage, section)
        self._images = section.before.photos - section.before.errors
        self._faces = section.before.faces

    @classmethod
    def frame(cls) -> tuple[bytes, ...]:
        """Return what stands before the images, between them and the boxes, and at the end."""
        head = {"info": {"description": "Faces found by FeatherFace", "version": __version__}, "licenses": []}
        start = _json(head)[:-1] + b',"categories":' + _json([_CATEGORY]) + b',"images":['
        return start, b'\n],"annotations":[', b"\n]}\n"

    def add(self, outcome: Outcome) -> None:
        """Write a photo's entry and its faces; an error has no place in this format."""
        if outcome.detections is None:
            return
        images, annotations = self._pieces
        size = outcome.detections["image"]
        images.write(b",\n" if self._images else b"\n")
        self._images += 1
        images.write(_json({"id": self._images, "file_name": outcome.photo.key, **size}))
        for face in outcome.detections["faces"]:
            annotations.write(b",\n" if self._faces else b"\n")
            self._faces += 1
            annotations.write(_json(_annotation(face, self._faces, self._images)))


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
