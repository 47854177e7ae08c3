"""Problem details (RFC 9457): how the API says what went wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from featherface import FeatherFaceError
from shared.errors import FunctionError

__all__ = ["INTERNAL", "MEDIA_TYPE", "problem", "problem_of", "status_of", "withheld"]

MEDIA_TYPE: Final = "application/problem+json"

INTERNAL: Final = "internal"
"""Code of what nobody foresaw."""

_TITLES: Final[Mapping[int, str]] = {
    400: "The request cannot be understood",
    404: "Not found",
    405: "Method not allowed",
    413: "Too large",
    415: "Unsupported media type",
    422: "The request was understood but cannot be done",
    429: "Too many requests",
    500: "Internal error",
    503: "Not available now",
}

_STATUSES: Final[Mapping[str, int]] = {
    "invalid_request": 400,
    "invalid_option": 422,
    "unsupported_media_type": 415,
    "output_taken": 422,
    "payload_too_large": 413,
    "answer_too_large": 422,
    "photo_not_found": 404,
    "photo_archived": 422,
    "photo_encrypted": 422,
    "result_not_found": 404,
    "job_not_found": 404,
    "job_conflict": 422,
    "not_found": 404,
    "method_not_allowed": 405,
    "storage_unavailable": 503,
    "setup": 503,
    "missing_right": 503,
    "image": 422,
    "unreadable_image": 422,
    "unsupported_format": 415,
    "image_too_large": 413,
    "model_integrity": 503,
    "model_manifest": 503,
    "model_hash": 503,
    "model_parameters": 503,
    "model_structure": 503,
    "provider": 503,
    # An API that may not read a bucket does not tell whether a photo is there.
    "storage_denied": 404,
    INTERNAL: 500,
}

# What these errors say is for the operator (paths, providers, variables); it stands in the log.
_PRIVATE: Final = frozenset({500, 503})
_PRIVATE_DETAIL: Final = (
    "the service cannot do this now; its operator finds the reason in the log by request_id"
)
_DETAILS: Final[Mapping[str, str]] = {
    "storage_denied": "there is no such photo, or this service may not read it",
    "storage_unavailable": "storage is slow or down; try again in a few seconds",
}


def status_of(code: str) -> int:
    """Return the HTTP status of a code; 500 for one that no table names."""
    return _STATUSES.get(code, 500)


def problem(code: str, detail: str, request_id: str) -> dict[str, Any]:
    """Return problem details.

    Parameters
    ----------
    code : str
        Stable; callers may compare it.
    detail : str
        For people.
    request_id : str
        Finds the call in the log.
    """
    status = status_of(code)
    return {
        "type": f"urn:featherface:problem:{code}",
        "title": _TITLES[status],
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": request_id,
    }


def problem_of(error: FunctionError | FeatherFaceError, request_id: str) -> dict[str, Any]:
    """Return an error's problem details; what only the operator may know is left out."""
    code = error.code
    detail = str(error) if withheld(error) is None else _DETAILS.get(code, _PRIVATE_DETAIL)
    return problem(code, detail, request_id)


def withheld(error: FunctionError | FeatherFaceError) -> str | None:
    """Return what an error's problem details leave out, for the log; None if they tell all."""
    private = error.code in _DETAILS or status_of(error.code) in _PRIVATE
    return str(error) if private else None
