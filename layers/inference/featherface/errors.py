"""Every error that FeatherFace raises on purpose, as one tree.

::

    FeatherFaceError                 featherface
    ├── ImageError                   image                the photo is at fault: retrying cannot help
    │   ├── UnreadableImageError     unreadable_image     empty, truncated or corrupt
    │   ├── UnsupportedFormatError   unsupported_format   not JPEG, PNG, BMP or WebP
    │   └── ImageTooLargeError       image_too_large      over the limit of bytes or pixels
    ├── ModelIntegrityError          model_integrity      the model is at fault: serve no request
    │   ├── ModelManifestError       model_manifest       manifest or model file missing, unreadable, unknown
    │   ├── ModelHashError           model_hash           not the bytes that the manifest names
    │   ├── ParameterCountError      model_parameters     not the published number of trainable parameters
    │   └── ModelStructureError      model_structure      not the published architecture
    ├── ConfigurationError           configuration        a setting is unknown, mistyped or out of range
    ├── InputTypeError               input_type           the caller gave something else than a file's bytes
    └── ProviderError                provider             a required execution provider is missing or failed

The right column of names is each class's ``code``: a stable string for records, metrics and API answers,
which callers may compare; messages are for people and may change. Every error takes one message, so all of
them survive pickling between processes.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "ConfigurationError",
    "FeatherFaceError",
    "ImageError",
    "ImageTooLargeError",
    "InputTypeError",
    "ModelHashError",
    "ModelIntegrityError",
    "ModelManifestError",
    "ModelStructureError",
    "ParameterCountError",
    "ProviderError",
    "UnreadableImageError",
    "UnsupportedFormatError",
]


class FeatherFaceError(Exception):
    """Base of every error that FeatherFace raises on purpose."""

    code: ClassVar[str] = "featherface"


class ImageError(FeatherFaceError):
    """The photo cannot be used; the same bytes will fail again."""

    code = "image"


class UnreadableImageError(ImageError):
    """The photo is empty, truncated or corrupt."""

    code = "unreadable_image"


class UnsupportedFormatError(ImageError):
    """The content is not JPEG, PNG, BMP or WebP."""

    code = "unsupported_format"


class ImageTooLargeError(ImageError):
    """The photo has more bytes or pixels than the limits allow."""

    code = "image_too_large"


class ModelIntegrityError(FeatherFaceError):
    """The model file is not what was published; no request may be served with it."""

    code = "model_integrity"


class ModelManifestError(ModelIntegrityError):
    """The manifest or a file it names is missing, unreadable or unknown."""

    code = "model_manifest"


class ModelHashError(ModelIntegrityError):
    """The model's bytes do not have the size or SHA-256 that the manifest names."""

    code = "model_hash"


class ParameterCountError(ModelIntegrityError):
    """The model does not have the published number of trainable parameters."""

    code = "model_parameters"


class ModelStructureError(ModelIntegrityError):
    """The model's graph is not the published architecture."""

    code = "model_structure"


class ConfigurationError(FeatherFaceError):
    """A setting is unknown, has the wrong type or is out of range."""

    code = "configuration"


class InputTypeError(FeatherFaceError, TypeError):
    """A photo was given as something else than the bytes of its file."""

    code = "input_type"


class ProviderError(FeatherFaceError):
    """A required onnxruntime execution provider is missing or failed."""

    code = "provider"
