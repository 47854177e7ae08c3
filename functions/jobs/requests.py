"""What a job request asks for, and the command line that does it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from featherface import ConfigurationError, DetectOptions, Settings
from shared.errors import InvalidOptionError, RequestError
from shared.photos import UPLOADS

__all__ = ["FORMATS", "MAX_ERRORS", "OUTPUTS", "JobRequest", "command_line", "read_job_request"]

MAX_ERRORS: Final = r"^([0-9]{1,18}|(100(\.0+)?|[0-9]{1,2}(\.[0-9]+)?)%)$"
"""A count of photos or a percentage, as text; the batch command's own rule."""

OUTPUTS: Final = "jobs/"
"""Where the outputs of all jobs lie in the results bucket."""

FORMATS: Final = ("jsonl", "coco", "parquet", "yolo", "voc", "label-studio", "wider")
"""Output formats that the batch job knows; it checks them again."""

_MEMBERS: Final = ("source", "output", "formats", "options")
_MODEL: Final = ("model", "precision")
_SWITCHES: Final = {"mirror": "--mirror", "retry_errors": "--retry-errors"}
_OPTIONS: Final = (*_MODEL, "input_size", "confidence_threshold", "max_errors", "limit", *_SWITCHES)


class JobRequest(NamedTuple):
    """A bulk job.

    Parameters
    ----------
    source : str
        ``s3://`` address of a prefix, a manifest or an inventory.
    output : str
        ``s3://`` address of the run's prefix.
    formats : tuple of str
    options : mapping
        Checked values of the batch command's options.
    folder : str
        The folder below `OUTPUTS` that the output is, or lies in.
    """

    source: str
    output: str
    formats: tuple[str, ...]
    options: Mapping[str, Any]
    folder: str


def read_job_request(
    members: Mapping[str, Any],
    job_id: str,
    photos_bucket: str,
    results_bucket: str,
    *,
    reads_uploads: bool = False,
) -> JobRequest:
    """Check a request for a job.

    Parameters
    ----------
    members : mapping
        The request's JSON.
    job_id : str
        Names the output if the request does not.
    photos_bucket, results_bucket : str
        A job writes nothing else. It reads lists from the first alone, which may name photos elsewhere:
        what its own role may read bounds those.
    reads_uploads : bool
        Whether a source may hold the uploads, which are each caller's own.

    Raises
    ------
    RequestError
        The request cannot be understood; the subclass says why.
    """
    unknown = sorted(members.keys() - set(_MEMBERS))
    if unknown:
        raise RequestError(f"unknown member {', '.join(unknown)}; known are {', '.join(_MEMBERS)}")
    source = _address("source", members.get("source"), photos_bucket, "")
    if not reads_uploads:
        _refuse_uploads(source, photos_bucket)
    start = f"s3://{results_bucket}/{OUTPUTS}"
    output = _address("output", members.get("output", start + job_id), results_bucket, OUTPUTS)
    folder, *below = output.removeprefix(start).split("/")
    if not all((folder, *below)):
        raise RequestError(f"output must be an address below {start} without empty parts")
    formats = members.get("formats", ["jsonl", "coco"])
    if not isinstance(formats, list) or not formats or not all(name in FORMATS for name in formats):
        raise InvalidOptionError(f"formats must be a list of {', '.join(FORMATS)}; got {formats!r}")
    options = _options(members.get("options", {}))
    return JobRequest(source, output, tuple(dict.fromkeys(formats)), options, folder)


def command_line(request: JobRequest) -> list[str]:
    """Return the batch command's arguments, each of them one argument whatever it contains."""
    flags = {
        "model": "--model",
        "precision": "--precision",
        "input_size": "--input-size",
        "confidence_threshold": "--confidence",
        "max_errors": "--max-errors",
        "limit": "--limit",
    }
    arguments = ["featherface", "annotate", request.source, "--output", request.output]
    arguments += ["--format", ",".join(request.formats)]
    for name, flag in flags.items():
        if name in request.options:
            arguments += [flag, str(request.options[name])]
    return arguments + [flag for name, flag in _SWITCHES.items() if request.options.get(name)]


def _address(name: str, value: object, bucket: str, prefix: str) -> str:
    start = f"s3://{bucket}/{prefix}"
    if not isinstance(value, str) or not value.startswith(start) or len(value) > 1024:
        raise RequestError(f"{name} must be an address that starts with {start}")
    if prefix and not value[len(start) :].strip("/"):
        raise RequestError(f"{name} must name a folder below {start}, for that is the parent of all jobs'")
    if any(part in (".", "..") for part in value.split("/")) or not value.isprintable():
        raise RequestError(f"{name} must not have the parts . and .., nor control characters")
    return value.rstrip("/")


def _refuse_uploads(source: str, bucket: str) -> None:
    place = source.removeprefix(f"s3://{bucket}").strip("/") + "/"
    if place == "/" or place.startswith(UPLOADS):
        raise RequestError(
            f"source must not be all of the bucket, nor {UPLOADS} or below it, where every caller's uploads "
            "lie; name another folder, or have the operator allow it by JOBS_READ_UPLOADS"
        )


def _options(options: object) -> dict[str, Any]:
    if not isinstance(options, dict):
        raise RequestError(f"options must be an object, got {type(options).__name__}")
    unknown = sorted(options.keys() - set(_OPTIONS))
    if unknown:
        raise InvalidOptionError(f"unknown option {', '.join(unknown)}; known are {', '.join(_OPTIONS)}")
    try:
        DetectOptions(
            input_size=options.get("input_size"), confidence_threshold=options.get("confidence_threshold")
        )
        Settings(**{name: options[name] for name in _MODEL if name in options})
    except ConfigurationError as error:
        raise InvalidOptionError(str(error)) from error
    for name in _SWITCHES:
        if not isinstance(options.get(name, False), bool):
            raise InvalidOptionError(f"{name} must be true or false; got {options[name]!r}")
    errors = options.get("max_errors", 0)
    text = str(errors) if _is_count(errors, 0) else errors
    if not isinstance(text, str) or not re.fullmatch(MAX_ERRORS, text):
        raise InvalidOptionError(
            f'max_errors must be a count or a percentage up to 100 such as "2.5%"; got {errors!r}'
        )
    if not _is_count(options.get("limit", 1), 1):
        raise InvalidOptionError(f"limit must be a count of at least 1; got {options['limit']!r}")
    return {name: value for name, value in options.items() if value is not None}


def _is_count(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
