"""Settings: defaults, the shipped profiles, and overrides by environment variables.

A setting is looked up in this order, the first that has it wins: the caller's overrides, the environment
variable ``FEATHERFACE_<KEY>``, the profile (a YAML file), the default. Every value is checked, wherever it
comes from.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from featherface.errors import ConfigurationError
from featherface.images import PILLOW_PIXEL_LIMIT, ImageLimits
from featherface.resize import FITS, SIZES, Fit

__all__ = ["MAX_BATCH", "PROFILES", "DetectOptions", "Settings", "load_settings"]

PROFILES: Final = ("production", "edge_device", "cloud_api")
"""Names of the profiles that are shipped in ``featherface/profiles``."""

MAX_BATCH: Final = 8
"""Photos that may share one run of the session."""

_PREFIX: Final = "FEATHERFACE_"
# Of this package, but no settings.
_OTHER_VARIABLES: Final = ("PROFILE", "MODELS")

_MIB: Final = 1024 * 1024
# What the process holds without a photo: interpreter, libraries, a session with its arena (90 to 120 MiB,
# measured with both models and inputs up to 1024). The least limit leaves room for photos of two megapixels.
_BASE_BYTES: Final = 128 * _MIB
_LEAST_MEMORY_MB: Final = 160

_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "model": ("nano", "v1"),
    "precision": ("fp32", "int8"),
    "device": ("auto", "cpu", "cuda", "tensorrt"),
    "fit": FITS,
}
_RANGES: Final[Mapping[str, tuple[float, float]]] = {
    "input_size": (SIZES[0], SIZES[-1]),
    "batch_size": (1, MAX_BATCH),
    "threads": (0, 256),
    "confidence_threshold": (0.0, 1.0),
    "nms_threshold": (0.0, 1.0),
    "max_detections": (1, 5000),
    "memory_limit_mb": (0, 1_048_576),
    "max_image_bytes": (1, 2**31 - 1),
    "max_image_pixels": (1, PILLOW_PIXEL_LIMIT),
}
_REALS: Final = ("confidence_threshold", "nms_threshold")
_SWITCHES: Final = ("mirror",)
_SAID: Final[Mapping[str, bool]] = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, slots=True)
class Settings:
    """How a detector is set up and what it does unless a call says otherwise.

    Parameters
    ----------
    model : {"nano", "v1"}
    precision : {"fp32", "int8"}
        Which of the model's files.
    device : {"auto", "cpu", "cuda", "tensorrt"}
        ``auto`` takes CUDA where it works, else the CPU; every other value is a requirement.
    input_size : int
        Pixels along the longer side of the model's input: 320 to 1024 in steps of 32.
    fit : {"long_side", "square"}
        Pad to the next multiples of 32, or to input_size x input_size.
    mirror : bool
        Look at each photo in the mirror, too: twice the network's time, for more faces found.
    batch_size : int
        Photos per run on a GPU, 1 to 8. On the CPU photos always run alone: it is faster there, and a photo's
        result cannot depend on its neighbours.
    threads : int
        Threads inside one run on the CPU; 0 chooses by the CPUs that the process may use.
    confidence_threshold : float
        Faces below it are dropped.
    nms_threshold : float
        Of two faces that overlap by more than this (intersection over union), the weaker keeps one minus the
        overlap of its confidence; beyond 0.6, or beyond this where it is more, it is dropped.
    max_detections : int
        Faces per photo, the most confident first.
    memory_limit_mb : int
        Memory in MiB that a process with this detector may use for one photo at a time; 0 for no limit. What
        else the process holds comes on top. Photos whose decoding might exceed it are refused as too large;
        on a GPU it limits onnxruntime's arena as well.
    max_image_bytes, max_image_pixels : int
        Larger photos are refused before they are decoded.

    Raises
    ------
    ConfigurationError
        If a value has the wrong type or is out of range.
    """

    model: str = "nano"
    precision: str = "fp32"
    device: str = "auto"
    input_size: int = 640
    fit: Fit = "long_side"
    mirror: bool = False
    batch_size: int = 8
    threads: int = 0
    confidence_threshold: float = 0.5
    nms_threshold: float = 0.4
    max_detections: int = 1000
    memory_limit_mb: int = 0
    max_image_bytes: int = 20 * _MIB
    max_image_pixels: int = 64_000_000

    def __post_init__(self) -> None:
        for field in fields(self):
            _check(field.name, getattr(self, field.name))
        if 0 < self.memory_limit_mb < _LEAST_MEMORY_MB:
            raise ConfigurationError(
                f"memory_limit_mb must be 0 (none) or at least {_LEAST_MEMORY_MB}; got {self.memory_limit_mb}"
            )

    @property
    def image_limits(self) -> ImageLimits:
        """What a photo may cost, with the memory limit taken into account."""
        memory = self.memory_limit_mb * _MIB - _BASE_BYTES if self.memory_limit_mb else None
        return ImageLimits(self.max_image_bytes, self.max_image_pixels, memory)

    def with_options(self, options: DetectOptions | None) -> Settings:
        """Return these settings with the options of one call in place of their own."""
        if options is None:
            return self
        chosen = {field.name: getattr(options, field.name) for field in fields(options)}
        return replace(self, **{name: value for name, value in chosen.items() if value is not None})


@dataclass(frozen=True, slots=True)
class DetectOptions:
    """What one call wants otherwise; None leaves it to the detector's settings.

    Parameters
    ----------
    input_size, fit, mirror, confidence_threshold, nms_threshold, max_detections
        As in `Settings`.

    Raises
    ------
    ConfigurationError
        If a value has the wrong type or is out of range.
    """

    input_size: int | None = None
    fit: Fit | None = None
    mirror: bool | None = None
    confidence_threshold: float | None = None
    nms_threshold: float | None = None
    max_detections: int | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None:
                _check(field.name, value)


def load_settings(
    profile: str | Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """Put the settings together.

    Parameters
    ----------
    profile : str or Path, optional
        One of `PROFILES`, or the path of a YAML file with the same keys. If omitted, the environment variable
        ``FEATHERFACE_PROFILE``; without it, the defaults of `Settings`.
    environ : mapping, optional
        The process environment if omitted. Read are ``FEATHERFACE_PROFILE`` and ``FEATHERFACE_`` with the
        name of a setting in capitals.
    overrides : mapping, optional
        Settings that win over everything else; None values are skipped, so command line arguments can be
        passed on as they are.

    Returns
    -------
    Settings

    Raises
    ------
    ConfigurationError
        If the profile cannot be read, a key is unknown, a variable is nearly one that is read, or a value has
        the wrong type or is out of range.
    """
    environ = os.environ if environ is None else environ
    profile = profile or environ.get("FEATHERFACE_PROFILE") or None
    values: dict[str, Any] = {} if profile is None else _read_profile(profile)
    chosen = {name: value for name, value in (overrides or {}).items() if value is not None}
    _check_names(chosen, "the overrides")
    for name in _names():
        text = environ.get(f"{_PREFIX}{name.upper()}")
        if text is not None:
            values[name] = _parse(name, text, used=name not in chosen)
    _check_variables(environ)
    return Settings(**{**values, **chosen})


def _names() -> tuple[str, ...]:
    return tuple(field.name for field in fields(Settings))


def _check(name: str, value: object) -> None:
    """Raise ConfigurationError unless `value` is good for the setting `name`."""
    if name in _CHOICES:
        if value not in _CHOICES[name]:
            raise ConfigurationError(f"{name} must be one of {', '.join(_CHOICES[name])}; got {value!r}")
        return
    if name in _SWITCHES:
        if not isinstance(value, bool):
            raise ConfigurationError(f"{name} must be true or false; got {value!r}")
        return
    wanted = int | float if name in _REALS else int
    low, high = _RANGES[name]
    if isinstance(value, bool) or not isinstance(value, wanted):
        kind = "a number" if name in _REALS else "a whole number"
        raise ConfigurationError(f"{name} must be {kind} from {low} to {high}; got {value!r}")
    if not low <= value <= high:
        raise ConfigurationError(f"{name} must be from {low} to {high}; got {value}")
    if name == "input_size" and value not in SIZES:
        below = int(value) // SIZES.step * SIZES.step
        raise ConfigurationError(
            f"input_size must be a multiple of {SIZES.step}; got {value}, the nearest are {below} and "
            f"{below + SIZES.step}"
        )


def _parse(name: str, text: str, *, used: bool) -> Any:
    variable = f"{_PREFIX}{name.upper()}"
    value: Any
    if name in _CHOICES:
        value = text.strip().lower()
    elif name in _SWITCHES:
        # What is neither is refused with the other values, as it was written.
        value = _SAID.get(text.strip().lower(), text)
    else:
        try:
            value = float(text) if name in _REALS else int(text)
        except ValueError:
            kind = "a number" if name in _REALS else "a whole number"
            raise ConfigurationError(f"{variable} must be {kind}; got {text!r}") from None
    if used:
        try:
            _check(name, value)
        except ConfigurationError as error:
            raise ConfigurationError(f"{error} (from the variable {variable})") from None
    return value


def _check_variables(environ: Mapping[str, str]) -> None:
    """Refuse a variable that is nearly one of ours; what is quite another's stays unread."""
    known = {*(name.upper() for name in _names()), *_OTHER_VARIABLES}
    unknown = {name[len(_PREFIX) :] for name in environ if name.startswith(_PREFIX)} - known
    if unknown:
        import difflib

        for name in sorted(unknown):
            if near := difflib.get_close_matches(name, known, n=1, cutoff=0.8):
                raise ConfigurationError(
                    f"unknown variable {_PREFIX}{name}: did you mean {_PREFIX}{near[0]}?"
                )


def _check_names(values: Mapping[Any, Any], source: str) -> None:
    names = _names()
    for key in values:
        if key not in names:
            # imported here: nobody needs it until a setting is misspelt
            import difflib

            near = difflib.get_close_matches(str(key), names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(names)}"
            raise ConfigurationError(f"unknown setting {key!r} in {source}: {hint}")


def _read_profile(profile: str | Path) -> dict[str, Any]:
    if profile in PROFILES:
        # A deployment may carry the profiles as JSON, which takes a cold start a hundredth of the time.
        prepared = Path(__file__).parent / "profiles" / f"{profile}.json"
        if prepared.is_file():
            return dict(json.loads(prepared.read_bytes()))
    # Imported here because most callers read no profile, and a cold start pays for every import.
    import yaml

    path = Path(__file__).parent / "profiles" / f"{profile}.yaml" if profile in PROFILES else Path(profile)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(
            f"no profile {str(profile)!r}: give {', '.join(PROFILES)} or the path of a YAML file"
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"the profile {path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise ConfigurationError(
            f"the profile {path} must be a mapping of settings, got {type(content).__name__}"
        )
    _check_names(content, f"the profile {path}")
    return content
