"""What the stages hand to each other: a photo to annotate, and what became of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

from featherface import Detections, FeatherFaceError
from featherface_batch.errors import BatchError

__all__ = [
    "Outcome",
    "Photo",
    "Tally",
    "counted",
    "is_text",
    "read_lines",
    "safe_path",
    "write_json",
    "write_lines",
]

# Bytes. File systems take 255 of a name, and outputs add suffixes of their own to a photo's.
_LONGEST_PART: Final = 200
_LONGEST_SUFFIX: Final = 8


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo of the source.

    Parameters
    ----------
    key : str
        Its name in every output: the path below the source, or the place itself without a scheme.
    location : str
        Where it lies: a path or a ``file://`` URI of this machine, or ``s3://bucket/key``.
    size : int or None
        Its bytes, where the listing says so.
    """

    key: str
    location: str
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one photo: detections or a coded error, never both, never neither.

    Parameters
    ----------
    photo : Photo
    detections : mapping, optional
        `featherface.Detections.to_dict`.
    code, message : str, optional
        The error's stable code, and its text for people.
    """

    photo: Photo
    detections: dict[str, Any] | None = None
    code: str | None = None
    message: str | None = None

    def __post_init__(self) -> None:
        if (self.detections is None) == (self.code is None):
            raise ValueError(f"{self.photo.key} needs either detections or an error code")

    @property
    def failed(self) -> bool:
        """Whether the photo ended as an error."""
        return self.code is not None

    @property
    def faces(self) -> int:
        """How many faces the photo has; none if it ended as an error."""
        return 0 if self.detections is None else len(self.detections["faces"])

    @classmethod
    def success(cls, photo: Photo, detections: Detections) -> Outcome:
        """Record the faces of a photo."""
        return cls(photo, detections=detections.to_dict())

    @classmethod
    def failure(cls, photo: Photo, error: BaseException) -> Outcome:
        """Record why a photo has no faces; errors that nobody foresaw get the code ``internal``."""
        if isinstance(error, FeatherFaceError | BatchError):
            return cls(photo, code=error.code, message=str(error))
        if isinstance(error, MemoryError):
            return cls(photo, code="out_of_memory", message="the photo needs more memory than there is")
        return cls(photo, code="internal", message=f"{type(error).__name__}: {error}")

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form: key and location, then the detections' members or ``error``."""
        row: dict[str, Any] = {"key": self.photo.key, "location": self.photo.location}
        if self.detections is not None:
            return {**row, **self.detections}
        return {**row, "error": {"code": self.code, "message": self.message}}

    @classmethod
    def from_dict(cls, row: dict[str, Any]) -> Outcome:
        """Read what `to_dict` wrote."""
        detections = dict(row)
        photo = Photo(detections.pop("key"), detections.pop("location"))
        error = detections.pop("error", None)
        if error is None:
            return cls(photo, detections=detections)
        return cls(photo, code=error["code"], message=error["message"])


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of photos.

    Parameters
    ----------
    photos : int
        With an outcome, errors included.
    errors : int
        Those that ended as an error.
    faces : int
        On all of them.
    """

    photos: int = 0
    errors: int = 0
    faces: int = 0

    @classmethod
    def of(cls, outcomes: Iterable[Outcome]) -> Tally:
        """Count outcomes."""
        return sum((cls(1, int(outcome.failed), outcome.faces) for outcome in outcomes), cls())

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.photos + other.photos, self.errors + other.errors, self.faces + other.faces)

    def __str__(self) -> str:
        return f"{self.photos} photos, {self.errors} errors, {self.faces} faces"

    def __sub__(self, other: Tally) -> Tally:
        return Tally(self.photos - other.photos, self.errors - other.errors, self.faces - other.faces)


def counted(number: int, thing: str) -> str:
    """Return a number with what it counts, for people: ``1 face``, ``1,200 faces``."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def is_text(name: str) -> bool:
    """Whether a name can be written as UTF-8; names of files and of JSON may hold halves of characters."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def safe_path(key: str) -> PurePosixPath:
    """Return a key as a relative path that stays below the folder it is put in, no part of it too long."""
    parts = [_short(part) for part in key.replace("\\", "/").split("/") if part not in {"", ".", ".."}]
    return PurePosixPath(*parts) if parts else PurePosixPath("photo")


def _short(part: str) -> str:
    data = part.encode()
    if len(data) <= _LONGEST_PART:
        return part
    suffix = PurePosixPath(part).suffix.encode()
    suffix = suffix if len(suffix) <= _LONGEST_SUFFIX else b""
    digest = hashlib.blake2b(data, digest_size=6).hexdigest()
    return f"{data[: _LONGEST_PART // 2].decode(errors='ignore')}-{digest}{suffix.decode()}"


def write_lines(rows: Iterable[dict[str, Any]]) -> bytes:
    """Return rows as JSON Lines."""
    return b"".join(
        json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n" for row in rows
    )


def read_lines(data: bytes) -> Iterator[dict[str, Any]]:
    """Yield the rows of JSON Lines."""
    for line in data.splitlines():
        yield json.loads(line)


def write_json(content: Mapping[str, Any]) -> bytes:
    """Return a JSON document for people and programs."""
    return json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n"
