"""A request's options, from a query string, a JSON body or a form."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from featherface import ConfigurationError, DetectOptions
from shared.errors import InvalidOptionError

__all__ = ["DETECT_OPTIONS", "OPTIONS", "RequestOptions", "read_options"]

DETECT_OPTIONS: Final = (
    "input_size",
    "mirror",
    "confidence_threshold",
    "nms_threshold",
    "max_detections",
)
"""Those that a detector takes, by its settings' names; the settings have their defaults."""

OPTIONS: Final = ("model", *DETECT_OPTIONS, "landmarks")
"""Names of all options; each may be given once."""

MODELS: Final = ("nano", "v1")
_TRUTH: Final = {"true": True, "1": True, "false": False, "0": False}
_DIGITS: Final = re.compile(r"[+-]?[0-9]{1,18}")
_DECIMAL: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_MAX_SHOWN: Final = 80
_SWITCHES: Final = ("mirror", "landmarks")
_WHOLE: Final = ("input_size", "max_detections")
_REAL: Final = ("confidence_threshold", "nms_threshold")


class RequestOptions(NamedTuple):
    """What one request wants otherwise.

    Parameters
    ----------
    detect : DetectOptions
    model : {"nano", "v1"}, optional
        The function's own model if omitted.
    landmarks : bool
        Whether faces come with their five points.
    """

    detect: DetectOptions
    model: str | None = None
    landmarks: bool = True


def read_options(query: Mapping[str, str], members: Mapping[str, Any]) -> RequestOptions:
    """Put a request's options together.

    Parameters
    ----------
    query : mapping
        The query string; every value is text.
    members : mapping
        Options of a JSON body with JSON's types, or of a form as text.

    Raises
    ------
    InvalidOptionError
        An option is unknown, given twice, mistyped or out of range.
    """
    twice = sorted(query.keys() & members.keys())
    if twice:
        raise InvalidOptionError(
            f"{', '.join(twice)} given in the query and in the body; give each option once"
        )
    given = {**query, **members}
    unknown = sorted(given.keys() - set(OPTIONS))
    if unknown:
        raise InvalidOptionError(f"unknown option {', '.join(unknown)}; known are {', '.join(OPTIONS)}")
    values = {name: _read(name, value) for name, value in given.items() if value is not None}
    model, landmarks = values.pop("model", None), values.pop("landmarks", True)
    try:
        detect = DetectOptions(**values)
    except ConfigurationError as error:
        raise InvalidOptionError(str(error)) from error
    return RequestOptions(detect, model, landmarks)


def _read(name: str, value: Any) -> Any:
    if name == "model":
        if value not in MODELS:
            raise InvalidOptionError(f"model must be one of {', '.join(MODELS)}; got {_shown(value)}")
        return value
    if name in _SWITCHES:
        truth = _TRUTH.get(value.lower()) if isinstance(value, str) else value
        if not isinstance(truth, bool):
            raise InvalidOptionError(f"{name} must be true or false; got {_shown(value)}")
        return truth
    if not isinstance(value, str):
        # a JSON number; DetectOptions checks its type and range
        return value
    # int and float take more than that: blanks, underscores, digits of other scripts, nan
    kind, form, wanted = (int, _DIGITS, "a whole number") if name in _WHOLE else (float, _DECIMAL, "a number")
    if not form.fullmatch(value):
        raise InvalidOptionError(f"{name} must be {wanted}; got {_shown(value)}")
    return kind(value)


def _shown(value: object) -> str:
    """Return a value as messages show it: whatever was sent, an answer stays short."""
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."
