"""YOLO: a text file per photo with ``class x y width height``, centre and size as parts of the photo."""

from __future__ import annotations

from typing import Any, ClassVar

from featherface_batch.records import Photo
from featherface_batch.sinks.files import FilePerPhotoSink

__all__ = ["YoloSink"]


class YoloSink(FilePerPhotoSink):
    """``yolo/labels/`` and ``yolo/data.yaml``; a photo without faces has an empty file, as YOLO wants it."""

    folder = "yolo/labels"
    suffix = ".txt"
    extras: ClassVar = {"yolo/data.yaml": "path: .\ntrain: images\nval: images\nnc: 1\nnames:\n  0: face\n"}

    def render(self, photo: Photo, detections: dict[str, Any], name: str) -> str:
        """Return a line per face."""
        lines = []
        for face in detections["faces"]:
            ratio = face["box_ratio"]
            x, y = ratio["left"] + ratio["width"] / 2, ratio["top"] + ratio["height"] / 2
            lines.append(f"0 {x:.6f} {y:.6f} {ratio['width']:.6f} {ratio['height']:.6f}\n")
        return "".join(lines)
