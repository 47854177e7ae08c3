"""WIDER FACE submission: a text file per photo in its event's folder, for the official evaluation."""

from __future__ import annotations

import re
from typing import Any, Final

from featherface_batch.records import Photo
from featherface_batch.sinks.files import FilePerPhotoSink

__all__ = ["WiderSink"]

# Whatever readers of lines take for a line's end; names can hold it.
_LINE_END: Final = re.compile("[\n-\r\x1c-\x1e\x85\u2028\u2029]")


class WiderSink(FilePerPhotoSink):
    """``wider/EVENT/NAME.txt``: name, number of faces, then ``left top width height score`` per face."""

    folder = "wider"
    suffix = ".txt"

    def render(self, photo: Photo, detections: dict[str, Any], name: str) -> str:
        """Return the submission's lines for a photo."""
        faces = detections["faces"]
        lines = [_LINE_END.sub("\ufffd", name.removesuffix(self.suffix)), str(len(faces))]
        for face in faces:
            box = face["box"]
            lines.append(f"{box['left']} {box['top']} {box['width']} {box['height']} {face['confidence']}")
        return "\n".join(lines) + "\n"
