"""The API's description, OpenAPI 3.1; ``python -m detect.openapi`` prints it.

It is written out here instead of being derived from the routes' signatures, because deriving needs pydantic,
for which every cold start would pay. A test compares it with the routes and with real answers.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from detect.options import MODELS
from detect.requests import MAX_PHOTOS, RAW_TYPES
from featherface import DETECTIONS_SCHEMA, ModelInfo, __version__
from shared.problems import MEDIA_TYPE

__all__ = ["document", "text"]

_Schema = Mapping[str, Any]

_TEXT: Final[_Schema] = {"type": "string"}
_COUNT: Final[_Schema] = {"type": "integer", "minimum": 0}
_MILLISECONDS: Final[_Schema] = {"type": "number", "minimum": 0}
_OPTIONS: Final[Mapping[str, _Schema]] = {
    "model": {"type": "string", "enum": list(MODELS), "description": "The service's own if omitted."},
    "input_size": {
        "type": "integer",
        "minimum": 320,
        "maximum": 1024,
        "multipleOf": 32,
        "description": "Pixels along the photo's longer side as the model sees it: more finds smaller faces.",
    },
    "confidence_threshold": {"type": "number", "minimum": 0, "maximum": 1},
    "nms_threshold": {"type": "number", "minimum": 0, "maximum": 1},
    "max_detections": {"type": "integer", "minimum": 1, "maximum": 5000},
    "landmarks": {"type": "boolean", "default": True},
}
_ERRORS: Final[Mapping[str, str]] = {
    "400": "The request cannot be understood.",
    "404": "There is no such photo, result or path.",
    "413": "Too many bytes, pixels or photos.",
    "415": "The body's type or the photo's format is none that is read.",
    "422": "An option is out of range, or the photo is broken.",
    "429": "More requests than the plan allows.",
    "500": "The service failed for a reason of its own.",
    "503": "The service cannot do this now; ask again.",
}


def _object(properties: Mapping[str, Any], optional: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    return {
        "type": "object",
        "properties": dict(properties),
        **({"required": required} if required else {}),
        "additionalProperties": False,
        **more,
    }


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _schemas() -> dict[str, Any]:
    detections = dict(DETECTIONS_SCHEMA["properties"])
    # a caller may ask for faces without landmarks
    face = dict(detections["faces"]["items"])
    face["required"] = [name for name in face["required"] if name != "landmarks"]
    detections["faces"] = {**detections["faces"], "items": face}
    kinds = {"parameters": _COUNT}
    model_info = _object({field.name: kinds.get(field.name, _TEXT) for field in fields(ModelInfo)})
    photo = _object(
        {"bucket": _TEXT, "key": _TEXT, "version_id": _TEXT, "etag": _TEXT},
        ("version_id", "etag"),
        description="Where the photo lies, if it came from S3.",
    )
    image = {
        "type": "string",
        "minLength": 1,
        "contentEncoding": "base64",
        "description": "The photo's bytes.",
    }
    s3 = _object(
        {name: {"type": "string", "minLength": 1} for name in ("bucket", "key", "versionId")}, ("versionId",)
    )
    one_of = {"oneOf": [{"required": ["image"]}, {"required": ["s3"]}]}
    return {
        "Result": _object(
            {
                **detections,
                "model_info": _reference("ModelInfo"),
                "timings": _object(dict.fromkeys(("decode_ms", "inference_ms", "total_ms"), _MILLISECONDS)),
                "photo": photo,
            },
            ("photo",),
            description=DETECTIONS_SCHEMA["description"],
        ),
        "FailedResult": _object({"error": _object({"code": _TEXT, "message": _TEXT}), "photo": photo}),
        "ModelInfo": model_info,
        "Photo": _object({"image": image, "s3": s3}, ("image", "s3"), **one_of),
        "DetectRequest": _object(
            {"image": image, "s3": s3, **_OPTIONS}, ("image", "s3", *_OPTIONS), **one_of
        ),
        "BatchRequest": _object(
            {
                "images": {
                    "type": "array",
                    "items": _reference("Photo"),
                    "minItems": 1,
                    "maxItems": MAX_PHOTOS,
                },
                **_OPTIONS,
            },
            tuple(_OPTIONS),
        ),
        "BatchResult": _object(
            {
                "results": {
                    "type": "array",
                    "items": {
                        "oneOf": [
                            _object({"index": _COUNT, "result": _reference("Result")}),
                            _object({"index": _COUNT, "error": _reference("Problem")}),
                        ]
                    },
                }
            }
        ),
        "Upload": _object(
            {
                "id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
                "upload": _object(
                    {
                        "method": {"const": "POST"},
                        "url": {"type": "string", "format": "uri"},
                        "fields": {"type": "object", "additionalProperties": _TEXT},
                    },
                    description="Send a form with these fields, then the photo as the field file.",
                ),
                "max_bytes": _COUNT,
                "expires_in": {**_COUNT, "description": "Seconds."},
                "result": {**_TEXT, "description": "Where the result will be."},
            }
        ),
        "Models": _object(
            {
                "models": {
                    "type": "array",
                    "items": _object(
                        {
                            **dict.fromkeys(("model", "name", "version"), _TEXT),
                            "parameters": _COUNT,
                            **dict.fromkeys(("precision", "sha256"), _TEXT),
                            "default": {"type": "boolean"},
                        }
                    ),
                }
            }
        ),
        "Health": _object({"status": {"const": "ok"}, "model_info": _reference("ModelInfo")}),
        "Problem": _object(
            {
                **dict.fromkeys(("type", "title", "detail"), _TEXT),
                "status": {"type": "integer"},
                "code": {**_TEXT, "description": "Stable; compare this and not the texts."},
                "request_id": {**_TEXT, "description": "Finds the call in the service's log."},
            },
            description="Problem details, RFC 9457.",
        ),
        "RekognitionRequest": {
            "type": "object",
            "properties": {"Image": {"type": "object"}, "Attributes": {"type": "array", "items": _TEXT}},
            "required": ["Image"],
        },
        "RekognitionAnswer": {
            "type": "object",
            "properties": {"FaceDetails": {"type": "array", "items": {"type": "object"}}},
            "required": ["FaceDetails"],
        },
        "RekognitionError": {
            "type": "object",
            "properties": dict.fromkeys(("__type", "Code", "Message"), _TEXT),
            "required": ["__type", "Code", "Message"],
        },
    }


def _operation(
    name: str, summary: str, answer: str | list[str], errors: tuple[str, ...], **more: Any
) -> dict[str, Any]:
    status = "201" if name == "createUpload" else "200"
    names = [answer] if isinstance(answer, str) else answer
    schema = _reference(names[0]) if len(names) == 1 else {"oneOf": [_reference(each) for each in names]}
    problem = {MEDIA_TYPE: {"schema": _reference("Problem")}}
    always = ("429", "500", "503")
    return {
        "operationId": name,
        "summary": summary,
        **more,
        "responses": {
            status: {"description": "Done.", "content": {"application/json": {"schema": schema}}},
            **{
                code: {"description": _ERRORS[code], "content": problem}
                for code in sorted((*errors, *always))
            },
        },
    }


def _query() -> list[dict[str, Any]]:
    return [{"name": name, "in": "query", "schema": schema} for name, schema in _OPTIONS.items()]


def _body(content: Mapping[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": dict(content)}


def document() -> dict[str, Any]:
    """Return the description."""
    form = _object({"image": {"type": "string", "contentMediaType": "application/octet-stream"}, **_OPTIONS})
    form["required"] = ["image"]
    detect_content = {
        "application/json": {"schema": _reference("DetectRequest")},
        "multipart/form-data": {"schema": form},
        **{name: {"schema": {"type": "string", "format": "binary"}} for name in RAW_TYPES},
    }
    upload_id = {"name": "upload_id", "in": "path", "required": True, "schema": _TEXT}
    rekognition = {
        name: {
            "description": description,
            "content": {"application/x-amz-json-1.1": {"schema": _reference(schema)}},
        }
        for name, description, schema in (
            ("200", "Done.", "RekognitionAnswer"),
            ("400", "An exception of Amazon Rekognition.", "RekognitionError"),
            ("500", "InternalServerError.", "RekognitionError"),
        )
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "FeatherFace",
            "version": __version__,
            "description": "Faces in photos: boxes, five landmarks and confidences.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "paths": {
            "/v1/detect": {
                "post": _operation(
                    "detect",
                    "Find the faces of one photo",
                    "Result",
                    ("400", "404", "413", "415", "422"),
                    parameters=_query(),
                    requestBody=_body(detect_content),
                )
            },
            "/v1/detect/batch": {
                "post": _operation(
                    "detectBatch",
                    f"Find the faces of up to {MAX_PHOTOS} photos",
                    "BatchResult",
                    ("400", "413", "415", "422"),
                    parameters=_query(),
                    requestBody=_body({"application/json": {"schema": _reference("BatchRequest")}}),
                )
            },
            "/v1/uploads": {
                "post": _operation("createUpload", "Get an address for a large photo", "Upload", ())
            },
            "/v1/results/{upload_id}": {
                "get": _operation(
                    "readResult",
                    "Get the result of an upload",
                    ["Result", "FailedResult"],
                    ("404",),
                    parameters=[upload_id],
                )
            },
            "/v1/models": {"get": _operation("listModels", "List the models", "Models", ())},
            "/v1/health": {"get": _operation("health", "Tell that the service serves", "Health", ())},
            "/": {
                "post": {
                    "operationId": "rekognitionDetectFaces",
                    "summary": "Amazon Rekognition's DetectFaces, for its clients",
                    "parameters": [
                        {"name": "X-Amz-Target", "in": "header", "required": True, "schema": _TEXT}
                    ],
                    "requestBody": _body(
                        {"application/x-amz-json-1.1": {"schema": _reference("RekognitionRequest")}}
                    ),
                    "responses": rekognition,
                }
            },
        },
        "components": {"schemas": _schemas()},
    }


def text() -> str:
    """Return the description as the committed ``openapi.json`` has it."""
    return json.dumps(document(), indent=1) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
