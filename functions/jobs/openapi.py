"""The part of the API's description that bulk jobs have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from jobs.requests import FORMATS, MAX_ERRORS

__all__ = ["PROGRESS", "SCHEMAS"]

_TEXT: Final = {"type": "string"}
_ADDRESS: Final = {"type": "string", "pattern": "^s3://"}

PROGRESS: Final[Mapping[str, Any]] = {
    "type": ["object", "null"],
    "description": "Counts, errors and throughput as the job last wrote them; null until it has. "
    "While its `state` is `listing`, the photos are not counted yet, and the counts are null.",
}

_SUMMARY: Final[Mapping[str, Any]] = {
    "id": _TEXT,
    "source": _ADDRESS,
    "output": _ADDRESS,
    "formats": {"type": "array", "items": _TEXT},
    "created_at": {"type": "string", "format": "date-time"},
}

SCHEMAS: Final[Mapping[str, Any]] = {
    "JobRequest": {
        "type": "object",
        "properties": {
            "source": {
                **_ADDRESS,
                "description": "A prefix, a manifest or an inventory in the photos bucket; not below "
                "uploads/, nor all of the bucket, unless the operator allows it.",
            },
            "output": {
                **_ADDRESS,
                "description": "Under jobs/ in the results bucket; of the job's own id if omitted. The "
                "folder below jobs/ is its first caller's: for others the code is output_taken.",
            },
            "formats": {"type": "array", "items": {"enum": list(FORMATS)}, "minItems": 1},
            "options": {
                "type": "object",
                "properties": {
                    "model": {"enum": ["nano", "v1"]},
                    "precision": {"enum": ["fp32", "int8"]},
                    "input_size": {"type": "integer", "minimum": 320, "maximum": 1024, "multipleOf": 32},
                    "confidence_threshold": {"type": "number", "minimum": 0, "maximum": 1},
                    "max_errors": {
                        "type": ["integer", "string"],
                        "minimum": 0,
                        "pattern": MAX_ERRORS,
                        "description": 'A count of photos, or a percentage such as "2.5%".',
                    },
                    "mirror": {
                        "type": "boolean",
                        "description": "A second look at each photo, in the mirror: more faces.",
                    },
                    "retry_errors": {"type": "boolean"},
                    "limit": {
                        "type": "integer",
                        "minimum": 1,
                        "description": "Photos at most, the first of the source: a run to try.",
                    },
                },
                "additionalProperties": False,
            },
        },
        "required": ["source"],
        "additionalProperties": False,
    },
    "JobSummary": {"type": "object", "properties": dict(_SUMMARY), "required": list(_SUMMARY)},
    "Job": {
        "type": "object",
        "properties": {
            **_SUMMARY,
            "state": {"enum": ["submitting", "queued", "running", "succeeded", "failed", "cancelled"]},
            "error_code": {**_TEXT, "description": "Why it could not be submitted."},
            "failure": {
                "type": "object",
                "description": "Why it failed, as the job told, or what runs it; absent if neither did.",
                "properties": {"code": _TEXT, "message": _TEXT},
                "required": ["code", "message"],
            },
            "progress": PROGRESS,
        },
        "required": [*_SUMMARY, "state", "progress"],
    },
    "JobList": {
        "type": "object",
        "properties": {
            "jobs": {"type": "array", "items": {"$ref": "#/components/schemas/JobSummary"}},
            "next": {**_TEXT, "description": "The `after` of the next page; absent on the last."},
        },
        "required": ["jobs"],
    },
}
