"""The JSON schema of `featherface.detections.Detections.to_dict`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from featherface.detections import SCHEMA_VERSION, BoundingBox, Landmarks

__all__ = ["DETECTIONS_SCHEMA"]

_BOX_NAMES: Final = tuple(field.name for field in fields(BoundingBox))


def _object(members: Mapping[str, Any], description: str) -> dict[str, Any]:
    return {
        "type": "object",
        "description": description,
        "properties": dict(members),
        "required": list(members),
        "additionalProperties": False,
    }


_NUMBER: Final = {"type": "number"}
_NOT_NEGATIVE: Final = {"type": "number", "minimum": 0}
_RATIO: Final = {"type": "number", "minimum": 0, "maximum": 1.02}

DETECTIONS_SCHEMA: Final[Mapping[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "FeatherFace detections of one photo",
    **_object(
        {
            "schema_version": {"const": SCHEMA_VERSION},
            "image": _object(
                {"width": {"type": "integer", "minimum": 1}, "height": {"type": "integer", "minimum": 1}},
                "Size of the upright original photo in pixels.",
            ),
            "faces": {
                "type": "array",
                "description": "Sorted by confidence, highest first.",
                "items": _object(
                    {
                        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
                        "box": _object(dict.fromkeys(_BOX_NAMES, _NOT_NEGATIVE), "In pixels."),
                        "box_ratio": _object(dict.fromkeys(_BOX_NAMES, _RATIO), "As parts of the photo."),
                        "landmarks": _object(
                            {
                                field.name: _object({"x": _NUMBER, "y": _NUMBER}, "In pixels.")
                                for field in fields(Landmarks)
                            },
                            "In pixels; left and right as seen; may lie outside of the photo.",
                        ),
                    },
                    "One face.",
                ),
            },
        },
        "Coordinates are pixels of the upright original photo, x to the right, y down.",
    ),
}
