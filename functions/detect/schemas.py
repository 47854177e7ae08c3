"""The JSON schemas of the API's requests and answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from detect.options import DETECT_OPTIONS, MODELS
from detect.requests import MAX_PHOTOS
from featherface import DETECTIONS_SCHEMA, ModelInfo

__all__ = ["OPTIONS", "TEXT", "object_schema", "reference", "schemas"]

_Schema = Mapping[str, Any]

TEXT: Final[_Schema] = {"type": "string"}
_COUNT: Final[_Schema] = {"type": "integer", "minimum": 0}
_MILLISECONDS: Final[_Schema] = {"type": "number", "minimum": 0}
OPTIONS: Final[Mapping[str, _Schema]] = {
    "model": {"type": "string", "enum": list(MODELS), "description": "The service's own if omitted."},
    "input_size": {
        "type": "integer",
        "minimum": 320,
        "maximum": 1024,
        "multipleOf": 32,
        "description": "Pixels along the photo's longer side as the model sees it: more finds smaller faces.",
    },
    "mirror": {
        "type": "boolean",
        "description": "A second look at the photo, in the mirror: more faces, twice the network's time. "
        "The service's own setting if omitted.",
    },
    "confidence_threshold": {"type": "number", "minimum": 0, "maximum": 1},
    "nms_threshold": {"type": "number", "minimum": 0, "maximum": 1},
    "max_detections": {"type": "integer", "minimum": 1, "maximum": 5000},
    "landmarks": {"type": "boolean", "default": True},
}


def object_schema(
    properties: Mapping[str, Any], optional: tuple[str, ...] = (), **more: Any
) -> dict[str, Any]:
    """Return the schema of an object with these members and no others."""
    required = [name for name in properties if name not in optional]
    return {
        "type": "object",
        "properties": dict(properties),
        **({"required": required} if required else {}),
        "additionalProperties": False,
        **more,
    }


def reference(name: str) -> dict[str, str]:
    """Return a reference to one of the schemas."""
    return {"$ref": f"#/components/schemas/{name}"}


def schemas() -> dict[str, Any]:
    """Return all schemas by name."""
    detections = dict(DETECTIONS_SCHEMA["properties"])
    # a caller may ask for faces without landmarks
    face = dict(detections["faces"]["items"])
    face["required"] = [name for name in face["required"] if name != "landmarks"]
    detections["faces"] = {**detections["faces"], "items": face}
    kinds = {"parameters": _COUNT}
    model_info = object_schema({name: kinds.get(name, TEXT) for name in ModelInfo._fields})
    photo = object_schema(
        {"bucket": TEXT, "key": TEXT, "version_id": TEXT, "etag": TEXT},
        ("version_id", "etag"),
        description="The photo in S3 that was read, with its version and ETag, if it came from there.",
    )
    image = {
        "type": "string",
        "minLength": 1,
        "contentEncoding": "base64",
        "description": "The photo's bytes.",
    }
    s3 = object_schema(
        {name: {"type": "string", "minLength": 1} for name in ("bucket", "key", "versionId")}, ("versionId",)
    )
    one_of = {"oneOf": [{"required": ["image"]}, {"required": ["s3"]}]}
    return {
        "Result": object_schema(
            {
                **detections,
                "model_info": reference("ModelInfo"),
                "timings": object_schema(
                    dict.fromkeys(("decode_ms", "inference_ms", "total_ms"), _MILLISECONDS)
                ),
                "photo": photo,
            },
            ("photo",),
            description=DETECTIONS_SCHEMA["description"],
        ),
        "FailedResult": object_schema(
            {"error": object_schema({"code": TEXT, "message": TEXT}), "photo": photo}
        ),
        "ModelInfo": model_info,
        "Photo": object_schema({"image": image, "s3": s3}, ("image", "s3"), **one_of),
        "DetectRequest": object_schema(
            {"image": image, "s3": s3, **OPTIONS}, ("image", "s3", *OPTIONS), **one_of
        ),
        "BatchRequest": object_schema(
            {
                "images": {
                    "type": "array",
                    "items": reference("Photo"),
                    "minItems": 1,
                    "maxItems": MAX_PHOTOS,
                },
                **OPTIONS,
            },
            tuple(OPTIONS),
        ),
        "BatchResult": object_schema(
            {
                "results": {
                    "type": "array",
                    "items": {
                        "oneOf": [
                            object_schema({"index": _COUNT, "result": reference("Result")}),
                            object_schema({"index": _COUNT, "error": reference("Problem")}),
                        ]
                    },
                }
            }
        ),
        "Upload": object_schema(
            {
                "id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
                "upload": object_schema(
                    {
                        "method": {"const": "POST"},
                        "url": {"type": "string", "format": "uri"},
                        "fields": {"type": "object", "additionalProperties": TEXT},
                    },
                    description="Send a form with these fields, then the photo as the field file.",
                ),
                "max_bytes": _COUNT,
                "expires_in": {**_COUNT, "description": "Seconds."},
                "result": {**TEXT, "description": "Where the result will be."},
            }
        ),
        "Models": object_schema(
            {
                "models": {
                    "type": "array",
                    "items": object_schema(
                        {
                            **dict.fromkeys(("model", "name", "version"), TEXT),
                            "parameters": _COUNT,
                            **dict.fromkeys(("precision", "sha256"), TEXT),
                            "default": {"type": "boolean"},
                        }
                    ),
                },
                "defaults": object_schema(
                    {name: OPTIONS[name] for name in DETECT_OPTIONS},
                    description="What a request has that does not say otherwise.",
                ),
            }
        ),
        "Health": object_schema({"status": {"const": "ok"}, "model_info": reference("ModelInfo")}),
        "Problem": object_schema(
            {
                **dict.fromkeys(("type", "title", "detail"), TEXT),
                "status": {"type": "integer"},
                "code": {**TEXT, "description": "Stable; compare this and not the texts."},
                "request_id": {**TEXT, "description": "Finds the call in the service's log."},
            },
            description="Problem details, RFC 9457.",
        ),
        "RekognitionRequest": {
            "type": "object",
            "properties": {"Image": {"type": "object"}, "Attributes": {"type": "array", "items": TEXT}},
            "required": ["Image"],
        },
        "RekognitionAnswer": {
            "type": "object",
            "properties": {"FaceDetails": {"type": "array", "items": {"type": "object"}}},
            "required": ["FaceDetails"],
        },
        "RekognitionError": {
            "type": "object",
            "properties": dict.fromkeys(("__type", "Code", "Message"), TEXT),
            "required": ["__type", "Code", "Message"],
        },
    }
