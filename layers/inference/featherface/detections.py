"""The result of one photo as immutable value objects, and its JSON form.

Coordinates are float pixels of the upright original photo (EXIF orientation applied): x to the right, y down,
the origin at the outer corner of the top left pixel, so a photo spans 0 to ``width`` and 0 to ``height``.
Left and right in landmark names are the viewer's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["SCHEMA_VERSION", "BoundingBox", "Detections", "Face", "Landmarks", "Point"]

SCHEMA_VERSION: Final = "1.0"

_BOX_NAMES: Final = ("left", "top", "width", "height")
_LANDMARK_NAMES: Final = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
_COORDINATE_DECIMALS: Final = 2
_RATIO_DECIMALS: Final = 6
_CONFIDENCE_DECIMALS: Final = 4
# left and width are rounded apart, so a box that touches the edge may pass it by one step of rounding.
_FRAME_TOLERANCE: Final = 2 * 10.0**-_COORDINATE_DECIMALS


def _finite(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, got {value!r}")
    return float(value)


def _rounded(value: float, decimals: int) -> float:
    # + 0.0 turns the -0.0 that rounding makes of a small negative number into 0.0.
    return round(value, decimals) + 0.0


def _member(name: str, data: object, key: str) -> Any:
    if not isinstance(data, Mapping):
        raise ValueError(f"{name} must be an object, got {type(data).__name__}")
    if key not in data:
        raise ValueError(f"{name} lacks {key!r}; it has {sorted(map(str, data))}")
    return data[key]


@dataclass(frozen=True, slots=True)
class Point:
    """A point in float pixels of the upright original photo.

    Raises
    ------
    ValueError
        If a coordinate is not a finite number.
    """

    x: float
    y: float

    def __post_init__(self) -> None:
        _finite("x", self.x)
        _finite("y", self.y)

    def to_dict(self) -> dict[str, float]:
        """Return ``{"x", "y"}``, rounded to 2 decimals."""
        return {"x": _rounded(self.x, _COORDINATE_DECIMALS), "y": _rounded(self.y, _COORDINATE_DECIMALS)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Point:
        """Read what `to_dict` wrote; raises ValueError for anything else."""
        return cls(_finite("x", _member("point", data, "x")), _finite("y", _member("point", data, "y")))


@dataclass(frozen=True, slots=True)
class BoundingBox:
    """An upright rectangle in float pixels of the upright original photo.

    Parameters
    ----------
    left, top : float
        The top left corner.
    width, height : float
        The extent, at least 0.

    Raises
    ------
    ValueError
        If a number is not finite, or width or height is negative.
    """

    left: float
    top: float
    width: float
    height: float

    def __post_init__(self) -> None:
        for name in _BOX_NAMES:
            _finite(name, getattr(self, name))
        if self.width < 0 or self.height < 0:
            raise ValueError(f"width and height must not be negative, got {self.width} x {self.height}")

    @property
    def right(self) -> float:
        """The right edge in pixels."""
        return self.left + self.width

    @property
    def bottom(self) -> float:
        """The bottom edge in pixels."""
        return self.top + self.height

    @property
    def area(self) -> float:
        """The area in square pixels."""
        return self.width * self.height

    def to_dict(self) -> dict[str, float]:
        """Return ``{"left", "top", "width", "height"}`` in pixels, rounded to 2 decimals."""
        return {name: _rounded(getattr(self, name), _COORDINATE_DECIMALS) for name in _BOX_NAMES}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> BoundingBox:
        """Read what `to_dict` wrote; raises ValueError for anything else."""
        return cls(*(_finite(name, _member("box", data, name)) for name in _BOX_NAMES))


@dataclass(frozen=True, slots=True)
class Landmarks:
    """Five points of a face; left and right as the viewer sees them.

    They are the model's estimate and are not clipped: on a face that the photo's edge cuts off, a point may
    lie outside of the photo.
    """

    left_eye: Point
    right_eye: Point
    nose: Point
    mouth_left: Point
    mouth_right: Point

    def __post_init__(self) -> None:
        for name, point in self.items():
            if not isinstance(point, Point):
                raise ValueError(f"{name} must be a Point, got {type(point).__name__}")

    def items(self) -> tuple[tuple[str, Point], ...]:
        """Return the five (name, point) pairs in the order of the fields."""
        return tuple((name, getattr(self, name)) for name in _LANDMARK_NAMES)

    def to_dict(self) -> dict[str, dict[str, float]]:
        """Return each point by its name, rounded to 2 decimals."""
        return {name: point.to_dict() for name, point in self.items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Landmarks:
        """Read what `to_dict` wrote; raises ValueError for anything else."""
        return cls(*(Point.from_dict(_member("landmarks", data, name)) for name in _LANDMARK_NAMES))


@dataclass(frozen=True, slots=True)
class Face:
    """One face.

    Parameters
    ----------
    confidence : float
        The softmax of the model's two class logits, 0 to 1, less where a stronger face overlaps it (see
        `Settings.nms_threshold`). It orders faces; the model cards say what share of each is right.
    box : BoundingBox
    landmarks : Landmarks

    Raises
    ------
    ValueError
        If the confidence is not within 0 to 1.
    """

    confidence: float
    box: BoundingBox
    landmarks: Landmarks

    def __post_init__(self) -> None:
        if not 0.0 <= _finite("confidence", self.confidence) <= 1.0:
            raise ValueError(f"confidence must be within 0 to 1, got {self.confidence}")


@dataclass(frozen=True, slots=True)
class Detections:
    """The faces of one photo, sorted by confidence, highest first; a photo without a face has an empty tuple.

    Parameters
    ----------
    width, height : int
        Size of the upright original photo in pixels.
    faces : tuple of Face
        Their boxes lie inside the photo.

    Raises
    ------
    ValueError
        If the size is not positive, a box leaves the photo, or the faces are not sorted.
    """

    width: int
    height: int
    faces: tuple[Face, ...] = ()

    def __post_init__(self) -> None:
        for name in ("width", "height"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a positive integer, got {value!r}")
        if not isinstance(self.faces, tuple):
            raise ValueError(f"faces must be a tuple, got {type(self.faces).__name__}")
        for index, face in enumerate(self.faces):
            if not isinstance(face, Face):
                raise ValueError(f"face {index} must be a Face, got {type(face).__name__}")
            box, slack = face.box, _FRAME_TOLERANCE
            inside = -slack <= box.left and -slack <= box.top
            if not (inside and box.right <= self.width + slack and box.bottom <= self.height + slack):
                size = f"{self.width} x {self.height}"
                raise ValueError(f"face {index} leaves the photo of {size} pixels: {box}")
            if index and face.confidence > self.faces[index - 1].confidence:
                raise ValueError(f"faces must be sorted by confidence, highest first; face {index} is not")

    def check_size(self, width: int, height: int) -> None:
        """Make sure that these are the detections of a photo of this size.

        Parameters
        ----------
        width, height : int
            Size of the upright photo in pixels.

        Raises
        ------
        ValueError
            They are of a photo of another size.
        """
        if (width, height) != (self.width, self.height):
            raise ValueError(
                f"the detections are of a photo of {self.width} x {self.height} pixels, this one has "
                f"{width} x {height}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form that `featherface.schema.DETECTIONS_SCHEMA` describes.

        Rounding happens here and nowhere else: coordinates to 2 decimals, ratios to 6, confidences to 4.
        Ratios are taken of the rounded coordinates, so writing, reading and writing again changes nothing.

        Returns
        -------
        dict
            ``box`` and ``landmarks`` in pixels of the upright original photo, ``box_ratio`` as parts of its
            width and height.
        """
        return {
            "schema_version": SCHEMA_VERSION,
            "image": {"width": self.width, "height": self.height},
            "faces": [self._face_to_dict(face) for face in self.faces],
        }

    def _face_to_dict(self, face: Face) -> dict[str, Any]:
        box = face.box.to_dict()
        extent = {"left": self.width, "top": self.height, "width": self.width, "height": self.height}
        return {
            "confidence": _rounded(face.confidence, _CONFIDENCE_DECIMALS),
            "box": box,
            "box_ratio": {key: _rounded(box[key] / extent[key], _RATIO_DECIMALS) for key in box},
            "landmarks": face.landmarks.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Detections:
        """Read the JSON form; ``box_ratio`` follows from ``box`` and is not read.

        Raises
        ------
        ValueError
            If a member is missing, has the wrong type or is out of range, or the schema version is another.
        """
        version = _member("detections", data, "schema_version")
        if version != SCHEMA_VERSION:
            raise ValueError(f"schema_version must be {SCHEMA_VERSION!r}, got {version!r}")
        image, faces = _member("detections", data, "image"), _member("detections", data, "faces")
        if isinstance(faces, str | bytes) or not isinstance(faces, Sequence):
            raise ValueError(f"faces must be an array, got {type(faces).__name__}")
        return cls(
            width=_member("image", image, "width"),
            height=_member("image", image, "height"),
            faces=tuple(
                Face(
                    confidence=_finite("confidence", _member("face", face, "confidence")),
                    box=BoundingBox.from_dict(_member("face", face, "box")),
                    landmarks=Landmarks.from_dict(_member("face", face, "landmarks")),
                )
                for face in faces
            ),
        )
