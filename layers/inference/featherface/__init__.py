"""FeatherFace: face detection you run yourself.

>>> from featherface import Detector
>>> detector = Detector.load("nano")  # doctest: +SKIP
>>> detector.detect(photo_bytes).faces  # doctest: +SKIP
"""

from featherface.config import PROFILES, DetectOptions, Settings, load_settings
from featherface.detections import BoundingBox, Detections, Face, Landmarks, Point
from featherface.detector import Detector, ModelInfo, PreparedImage
from featherface.errors import (
    ConfigurationError,
    FeatherFaceError,
    ImageError,
    ImageTooLargeError,
    InputTypeError,
    ModelHashError,
    ModelIntegrityError,
    ModelManifestError,
    ModelStructureError,
    ParameterCountError,
    ProviderError,
    UnreadableImageError,
    UnsupportedFormatError,
)
from featherface.images import ImageLimits
from featherface.schema import DETECTIONS_SCHEMA

__version__ = "0.37.0"

__all__ = [
    "DETECTIONS_SCHEMA",
    "PROFILES",
    "BoundingBox",
    "ConfigurationError",
    "DetectOptions",
    "Detections",
    "Detector",
    "Face",
    "FeatherFaceError",
    "ImageError",
    "ImageLimits",
    "ImageTooLargeError",
    "InputTypeError",
    "Landmarks",
    "ModelHashError",
    "ModelInfo",
    "ModelIntegrityError",
    "ModelManifestError",
    "ModelStructureError",
    "ParameterCountError",
    "Point",
    "PreparedImage",
    "ProviderError",
    "Settings",
    "UnreadableImageError",
    "UnsupportedFormatError",
    "__version__",
    "load_settings",
]
