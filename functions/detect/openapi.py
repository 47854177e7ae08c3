"""The API's description, OpenAPI 3.1; ``python -m detect.openapi`` prints it.

It is written out here instead of being derived from the routes' signatures, because deriving needs pydantic,
for which every cold start would pay. A test compares it with the routes and with real answers.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any, Final

from detect.requests import MAX_PHOTOS, RAW_TYPES
from detect.schemas import OPTIONS, TEXT, object_schema, reference, schemas
from featherface import __version__
from jobs.openapi import SCHEMAS
from shared.problems import MEDIA_TYPE

__all__ = ["document", "text"]

_ERRORS: Final[Mapping[str, str]] = {
    "400": "The request cannot be understood.",
    "401": "The call carries no token of a known user.",
    "403": "The caller may not do this, or there is no such path.",
    "404": "There is no such photo, result or path.",
    "413": "Too many bytes, pixels or photos.",
    "415": "The body's type or the photo's format is none that is read.",
    "422": "An option is out of range, or the photo is broken.",
    "429": "More requests than the plan allows.",
    "500": "The service failed for a reason of its own.",
    "503": "The service cannot do this now; ask again.",
}


_TAGS = {
    "/v1/detect": "Detection",
    "/v1/uploads": "Uploads",
    "/v1/results": "Uploads",
    "/v1/jobs": "Bulk jobs",
    "/v1/": "Service",
    "/": "Amazon Rekognition's clients",
}
"""What groups the operations of paths that begin so; the first that fits holds."""


def _grouped(paths: dict[str, Any]) -> dict[str, Any]:
    for path, item in paths.items():
        tag = next(tag for start, tag in _TAGS.items() if path.startswith(start))
        for operation in item.values():
            operation["tags"] = [tag]
    return paths


# Lambda takes 6 MB, in which the gateway writes bytes in base64
_LIMIT: Final = "A call takes 6 MB, so photos of 4.5 MB together; larger ones go by `POST /v1/uploads`."


def _operation(
    name: str, summary: str, answer: str | list[str], errors: tuple[str, ...], **more: Any
) -> dict[str, Any]:
    status = {"createUpload": "201", "startJob": "202"}.get(name, "200")
    names = [answer] if isinstance(answer, str) else answer
    schema = reference(names[0]) if len(names) == 1 else {"oneOf": [reference(each) for each in names]}
    problem = {MEDIA_TYPE: {"schema": reference("Problem")}}
    # the first two and 429 are the gateway's own
    always = ("401", "403", "429", "500", "503")
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
    return [{"name": name, "in": "query", "schema": schema} for name, schema in OPTIONS.items()]


def _body(content: Mapping[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": dict(content)}


def _job_paths() -> dict[str, Any]:
    job_id = {"name": "job_id", "in": "path", "required": True, "schema": TEXT}
    key = {
        "name": "Idempotency-Key",
        "in": "header",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255},
        "description": "The same key is the same job, however often it comes.",
    }
    after = {
        "name": "after",
        "in": "query",
        "schema": {"type": "string", "pattern": "^[0-9]{8}T[0-9]{6}-[0-9a-f]{16}$"},
        "description": "Jobs older than the one by this id: the `next` of the page before.",
    }
    body = _body({"application/json": {"schema": reference("JobRequest")}})
    stop = _operation("stopJob", "Stop a bulk job of yours", "Job", ("404",), parameters=[job_id])
    del stop["responses"]["200"]
    stop["responses"]["204"] = {"description": "It stops; what it has written stays."}
    return {
        "/v1/jobs": {
            "post": _operation(
                "startJob",
                "Start a bulk job",
                "JobSummary",
                ("400", "415", "422"),
                parameters=[key],
                requestBody=body,
            ),
            "get": _operation(
                "listJobs",
                "List your bulk jobs, newest first, 100 at a time",
                "JobList",
                ("422",),
                parameters=[after],
            ),
        },
        "/v1/jobs/{job_id}": {
            "get": _operation("showJob", "Show a bulk job of yours", "Job", ("404",), parameters=[job_id]),
            "delete": stop,
        },
    }


def document() -> dict[str, Any]:
    """Return the description."""
    form = object_schema(
        {"image": {"type": "string", "contentMediaType": "application/octet-stream"}, **OPTIONS}
    )
    form["required"] = ["image"]
    detect_content = {
        "application/json": {"schema": reference("DetectRequest")},
        "multipart/form-data": {"schema": form},
        **{name: {"schema": {"type": "string", "format": "binary"}} for name in RAW_TYPES},
    }
    upload_id = {"name": "upload_id", "in": "path", "required": True, "schema": TEXT}
    rekognition = {
        name: {
            "description": description,
            "content": {"application/x-amz-json-1.1": {"schema": reference(schema)}},
        }
        for name, description, schema in (
            ("200", "Done.", "RekognitionAnswer"),
            ("400", "An exception of Amazon Rekognition.", "RekognitionError"),
            ("500", "InternalServerError.", "RekognitionError"),
        )
    }
    return {
        "openapi": "3.1.0",
        "tags": [{"name": name} for name in dict.fromkeys(_TAGS.values())],
        "info": {
            "title": "FeatherFace",
            "version": __version__,
            "description": "Faces in photos: boxes, five landmarks and confidences. A method that a path "
            "does not have is a 405, a path that is not there a 404, both with a Problem.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "paths": _grouped(
            {
                "/v1/detect": {
                    "post": _operation(
                        "detect",
                        "Find the faces of one photo",
                        "Result",
                        ("400", "404", "413", "415", "422"),
                        description=_LIMIT,
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
                        description=_LIMIT,
                        parameters=_query(),
                        requestBody=_body({"application/json": {"schema": reference("BatchRequest")}}),
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
                **_job_paths(),
                "/v1/models": {"get": _operation("listModels", "List the models", "Models", ())},
                "/v1/health": {"get": _operation("health", "Tell that the service serves", "Health", ())},
                "/": {
                    "post": {
                        "operationId": "rekognitionDetectFaces",
                        "summary": "Amazon Rekognition's DetectFaces, for its clients",
                        "parameters": [
                            {"name": "X-Amz-Target", "in": "header", "required": True, "schema": TEXT}
                        ],
                        "requestBody": _body(
                            {"application/x-amz-json-1.1": {"schema": reference("RekognitionRequest")}}
                        ),
                        "responses": rekognition,
                    }
                },
            }
        ),
        "components": {"schemas": {**schemas(), **SCHEMAS}},
    }


def text() -> str:
    """Return the description as the committed ``openapi.json`` has it."""
    return json.dumps(document(), indent=1) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
