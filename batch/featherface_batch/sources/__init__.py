"""Sources: where the keys of the photos come from."""

from __future__ import annotations

from pathlib import Path
from stat import S_ISDIR, S_ISREG

from featherface_batch.errors import SourceError
from featherface_batch.s3 import S3Options, is_s3
from featherface_batch.sources.folder import FolderSource
from featherface_batch.sources.inventory import INVENTORY_NAME, InventorySource
from featherface_batch.sources.limited import LimitedSource
from featherface_batch.sources.manifest import ManifestSource
from featherface_batch.sources.prefix import PrefixSource
from featherface_batch.sources.source import Source

__all__ = [
    "FolderSource",
    "InventorySource",
    "LimitedSource",
    "ManifestSource",
    "PrefixSource",
    "Source",
    "open_source",
]


def open_source(text: str, options: S3Options) -> Source:
    """Return the source that a command line argument means.

    Parameters
    ----------
    text : str
        A folder, ``s3://bucket/prefix``, the place of a manifest (``.csv``, ``.jsonl``, ``.ndjson``,
        ``.manifest``, ``.parquet``), or of an S3 Inventory's ``manifest.json``.
    options : S3Options

    Raises
    ------
    SourceError
        There is no such source.
    """
    if is_s3(text) and text.endswith(f"/{INVENTORY_NAME}"):
        return InventorySource(text, options)
    if is_s3(text):
        return (
            ManifestSource(text, options) if ManifestSource.kind(text) else PrefixSource.parse(text, options)
        )
    if "://" in text:
        raise SourceError(
            "the source must be a folder, s3://bucket/prefix, or a manifest in one of them; got "
            f"{text}. Copy its photos to one of those"
        )
    try:
        path = Path(text).expanduser().absolute()
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise SourceError(f"the source must be a folder or s3://bucket/prefix; there is no {text}") from error
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SourceError(
            f"the source must be a folder or s3://bucket/prefix; {text} cannot be opened: {reason}"
        ) from error
    if S_ISDIR(mode):
        return FolderSource(path)
    if ManifestSource.kind(text) and S_ISREG(mode):
        return ManifestSource(str(path), options)
    raise SourceError(
        f"the source must be a folder or a manifest (.csv, .jsonl, .manifest, .parquet); {path} is "
        "another file. `featherface detect` takes one photo"
    )
