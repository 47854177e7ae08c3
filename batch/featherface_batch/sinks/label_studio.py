"""Label Studio: tasks with predictions, to correct them by hand."""

from __future__ import annotations

import json
from typing import Any, Final

from featherface import __version__
from featherface_batch.records import Outcome
from featherface_batch.sections import Section
from featherface_batch.sinks.pieces import PiecesSink
from featherface_batch.storage import Storage

__all__ = ["LabelStudioSink"]

_CONFIG: Final = """\
<View>
  <Image name="image" value="$image" zoom="true"/>
  <RectangleLabels name="face" toName="image"><Label value="Face"/></RectangleLabels>
  <KeyPointLabels name="landmark" toName="image">
    <Label value="left_eye"/><Label value="right_eye"/><Label value="nose"/>
    <Label value="mouth_left"/><Label value="mouth_right"/>
  </KeyPointLabels>
</View>
"""
_POINT_WIDTH: Final = 0.5


class LabelStudioSink(PiecesSink):
    """``label_studio/tasks.json`` to import and ``label_studio/config.xml`` for the project.

    ``image`` of a task is the photo's location: set up a source storage for ``s3://``, or serve local files.

    Parameters
    ----------
    storage : Storage
    section : Section
    """

    file_name = "label_studio/tasks.json"

    def __init__(self, storage: Storage, section: Section) -> None:
        super().__init__(storage, section)
        self._tasks = section.before.photos - section.before.errors

    @classmethod
    def frame(cls) -> tuple[bytes, ...]:
        """Return the brackets around the tasks."""
        return b"[", b"\n]\n"

    @classmethod
    def finish(cls, storage: Storage, sections: int) -> None:
        """Put the tasks together, and write the project's configuration."""
        super().finish(storage, sections)
        storage.write("label_studio/config.xml", _CONFIG.encode())

    def add(self, outcome: Outcome) -> None:
        """Write a photo's task; one that ended as an error has none."""
        if outcome.detections is None:
            return
        (tasks,) = self._pieces
        tasks.write(b",\n" if self._tasks else b"\n")
        self._tasks += 1
        tasks.write(json.dumps(_task(outcome, outcome.detections), ensure_ascii=False).encode())


def _task(outcome: Outcome, detections: dict[str, Any]) -> dict[str, Any]:
    faces = detections["faces"]
    size = detections["image"]
    result = [
        region for number, face in enumerate(faces) for region in _regions(face, size, f"face-{number}")
    ]
    score = max((face["confidence"] for face in faces), default=0.0)
    prediction = {"model_version": f"featherface-{__version__}", "score": score, "result": result}
    return {"data": {"image": outcome.photo.location, "key": outcome.photo.key}, "predictions": [prediction]}


def _regions(face: dict[str, Any], size: dict[str, int], name: str) -> list[dict[str, Any]]:
    shared = {
        "to_name": "image",
        "original_width": size["width"],
        "original_height": size["height"],
        "image_rotation": 0,
        "score": face["confidence"],
    }
    ratio = face["box_ratio"]
    box = {
        "x": 100 * ratio["left"],
        "y": 100 * ratio["top"],
        "width": 100 * ratio["width"],
        "height": 100 * ratio["height"],
        "rotation": 0,
        "rectanglelabels": ["Face"],
    }
    regions = [{"id": name, "from_name": "face", "type": "rectanglelabels", "value": box, **shared}]
    for label, point in face["landmarks"].items():
        value = {
            "x": 100 * point["x"] / size["width"],
            "y": 100 * point["y"] / size["height"],
            "width": _POINT_WIDTH,
            "keypointlabels": [label],
        }
        regions.append(
            {
                "id": f"{name}-{label}",
                "parentID": name,
                "from_name": "landmark",
                "type": "keypointlabels",
                "value": value,
                **shared,
            }
        )
    return regions
