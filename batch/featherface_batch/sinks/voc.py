"""Pascal VOC: an XML file per photo."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any, Final
from xml.sax.saxutils import escape

from featherface_batch.records import Photo, safe_path
from featherface_batch.sinks.files import FilePerPhotoSink

__all__ = ["VocSink"]

# What XML 1.0 cannot hold (its production 2), not even escaped; names can.
_NO_XML: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


class VocSink(FilePerPhotoSink):
    """``voc/Annotations/``; corners in whole pixels counted from 1, as VOC counts them."""

    folder = "voc/Annotations"
    suffix = ".xml"

    def render(self, photo: Photo, detections: dict[str, Any], name: str) -> str:
        """Return the annotation of a photo."""
        path = safe_path(photo.key)
        size = detections["image"]
        objects = "".join(_object(face, size["width"], size["height"]) for face in detections["faces"])
        return (
            "<annotation>\n"
            f"  <folder>{_text(path.parent.name or _folder_of(photo.location))}</folder>\n"
            f"  <filename>{_text(path.name)}</filename>\n"
            f"  <path>{_text(photo.location)}</path>\n"
            "  <source><database>FeatherFace</database></source>\n"
            f"  <size><width>{size['width']}</width><height>{size['height']}</height>"
            "<depth>3</depth></size>\n"
            "  <segmented>0</segmented>\n"
            f"{objects}"
            "</annotation>\n"
        )


def _folder_of(location: str) -> str:
    """Return the name of the folder or bucket that a photo lies in: keys are without that of the source."""
    return PurePosixPath(location.partition("://")[2] or location).parent.name


def _text(name: str) -> str:
    return escape(_NO_XML.sub("\ufffd", name))


def _object(face: dict[str, dict[str, float]], width: int, height: int) -> str:
    box = face["box"]
    left, top = int(box["left"]) + 1, int(box["top"]) + 1
    # A box is never empty, whatever rounding does to a small one.
    right = min(width, max(left, round(box["left"] + box["width"])))
    bottom = min(height, max(top, round(box["top"] + box["height"])))
    return (
        "  <object>\n"
        "    <name>face</name><pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult>\n"
        f"    <confidence>{face['confidence']}</confidence>\n"
        f"    <bndbox><xmin>{min(left, right)}</xmin><ymin>{min(top, bottom)}</ymin>"
        f"<xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox>\n"
        "  </object>\n"
    )
