"""Model packages: where they are and what their manifest promises."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from featherface.errors import ModelManifestError

__all__ = ["MANIFEST_NAME", "Manifest", "ModelFile", "ModelPackage", "find_models_folder", "load_manifest"]

MANIFEST_NAME: Final = "manifest.json"
_MANIFEST_VERSION: Final = 1
# looked up and not matched: compiling a pattern costs every cold start more than all of its uses
_HEXADECIMAL: Final = frozenset("0123456789abcdef")
_SHA256_DIGITS: Final = 64


class ModelFile(NamedTuple):
    """One file of a model package, as the manifest promises it.

    Parameters
    ----------
    path : Path
        Where it lies.
    sha256 : str
        64 lower-case hexadecimal digits.
    bytes : int
        Its size.
    derived_from : str or None
        SHA-256 of the fp32 file that a quantised file was made from.
    """

    path: Path
    sha256: str
    bytes: int
    derived_from: str | None = None


class ModelPackage(NamedTuple):
    """One model, as the manifest promises it.

    Parameters
    ----------
    key : str
        Short name: ``nano`` or ``v1``.
    name, version : str
        For people.
    parameters : int
        Trainable parameters of the fp32 file.
    structure : mapping
        Facts of `featherface.validation.describe`.
    files : mapping of str to ModelFile
        By precision (``fp32``, ``int8``); ``checkpoint`` is the training checkpoint.
    """

    key: str
    name: str
    version: str
    parameters: int
    structure: Mapping[str, Any]
    files: Mapping[str, ModelFile]

    def file(self, precision: str) -> ModelFile:
        """Return the file of a precision; ModelManifestError if there is none."""
        if precision not in self.files:
            raise ModelManifestError(
                f"model {self.key} has no {precision} file, only {', '.join(sorted(self.files))}"
            )
        return self.files[precision]


class Manifest(NamedTuple):
    """All model packages of one folder."""

    folder: Path
    models: Mapping[str, ModelPackage]

    def package(self, model: str) -> ModelPackage:
        """Return a model's package; raises ModelManifestError if there is none."""
        if model not in self.models:
            known = ", ".join(sorted(self.models)) or "none"
            raise ModelManifestError(
                f"the manifest in {self.folder} has no model {model!r}; it lists {known}"
            )
        return self.models[model]


def find_models_folder(environ: Mapping[str, str] | None = None) -> Path:
    """Return the folder that holds ``manifest.json``.

    Looked up in this order: the environment variable ``FEATHERFACE_MODELS``; ``models`` inside the package
    (an installed wheel, the Lambda layer); ``models`` beside the package (a checkout).

    Parameters
    ----------
    environ : mapping, optional
        The process environment if omitted.

    Raises
    ------
    ModelManifestError
        None of them holds a manifest. A folder that the variable names is never passed over for another.
    """
    named = (os.environ if environ is None else environ).get("FEATHERFACE_MODELS")
    package = Path(__file__).parent
    candidates = [Path(named)] if named else [package / "models", package.parent / "models"]
    for folder in candidates:
        if (folder / MANIFEST_NAME).is_file():
            return folder
    places = " or ".join(str(folder) for folder in candidates)
    hint = "FEATHERFACE_MODELS names that folder" if named else "set FEATHERFACE_MODELS to the models folder"
    raise ModelManifestError(f"no {MANIFEST_NAME} in {places}; {hint}")


def load_manifest(folder: str | Path | None = None) -> Manifest:
    """Read and check a folder's manifest.

    Parameters
    ----------
    folder : str or Path, optional
        `find_models_folder` if omitted.

    Raises
    ------
    ModelManifestError
        It is missing or is not a manifest of the version that this package reads.
    """
    folder = find_models_folder() if folder is None else Path(folder)
    path = folder / MANIFEST_NAME
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ModelManifestError(f"the manifest {path} cannot be read: {error}") from error
    try:
        version = content["manifest_version"]
        if version != _MANIFEST_VERSION:
            raise ModelManifestError(
                f"the manifest {path} has version {version!r}; this package reads {_MANIFEST_VERSION}"
            )
        models = {key: _package(folder, key, entry) for key, entry in content["models"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelManifestError(
            f"the manifest {path} is incomplete or mistyped ({type(error).__name__}: {error})"
        ) from error
    return Manifest(folder, models)


def _package(folder: Path, key: str, entry: Mapping[str, Any]) -> ModelPackage:
    return ModelPackage(
        key=key,
        name=_typed(entry, "name", str),
        version=_typed(entry, "version", str),
        parameters=_typed(entry, "parameters", int),
        structure=_typed(entry, "structure", dict),
        files={kind: _file(folder, file) for kind, file in _typed(entry, "files", dict).items()},
    )


def _file(folder: Path, entry: Mapping[str, Any]) -> ModelFile:
    relative = Path(_typed(entry, "path", str))
    if relative.is_absolute() or ".." in relative.parts:
        raise ValueError(f"path must stay inside the models folder, got {relative}")
    derived_from = entry.get("derived_from")
    hashes = [_typed(entry, "sha256", str)] + ([] if derived_from is None else [derived_from])
    if not all(map(_is_sha256, hashes)):
        raise ValueError(f"sha256 must be 64 lower-case hexadecimal digits, got {hashes} for {relative}")
    return ModelFile(folder / relative, hashes[0], _typed(entry, "bytes", int), derived_from)


def _is_sha256(digest: object) -> bool:
    return isinstance(digest, str) and len(digest) == _SHA256_DIGITS and _HEXADECIMAL.issuperset(digest)


def _typed(entry: Mapping[str, Any], key: str, kind: type) -> Any:
    value = entry[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{key} must be of type {kind.__name__}, got {value!r}")
    return value
