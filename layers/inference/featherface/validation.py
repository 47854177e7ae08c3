"""Proof that a model file is the published one, over the very bytes that will run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from featherface.errors import ModelHashError, ModelManifestError
from featherface.packages import Manifest, ModelFile, ModelPackage

__all__ = ["ValidatedModel", "load_validated"]


@dataclass(frozen=True, slots=True)
class ValidatedModel:
    """A model's bytes and what was proved about them.

    Parameters
    ----------
    data : bytes
        The ONNX model: make the session from these.
    package : ModelPackage
    precision : {"fp32", "int8"}
    sha256 : str
        Of `data`.
    """

    data: bytes
    package: ModelPackage
    precision: str
    sha256: str


def load_validated(manifest: Manifest, model: str, precision: str) -> ValidatedModel:
    """Read a model of the manifest and prove it.

    Raises
    ------
    ModelManifestError
        The manifest does not list it, or the file cannot be read.
    ModelHashError
        The file has another size or SHA-256 than the manifest names.
    """
    package = manifest.package(model)
    file = package.file(precision)
    data = _read(file.path)
    return ValidatedModel(data, package, precision, _check_hash(data, file))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelManifestError(f"the model file {path} cannot be read: {error}") from error


def _check_hash(data: bytes, file: ModelFile) -> str:
    if len(data) != file.bytes:
        raise ModelHashError(
            f"{file.path.name} has {len(data):,} bytes, the manifest says {file.bytes:,}; "
            "restore the published file"
        )
    digest = hashlib.sha256(data).hexdigest()
    if digest != file.sha256:
        raise ModelHashError(
            f"{file.path.name} has SHA-256 {digest}, the manifest says {file.sha256}; "
            "restore the published file"
        )
    return digest
