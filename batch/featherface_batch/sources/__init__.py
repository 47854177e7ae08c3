"""Sources: where the keys of the photos come from."""

from __future__ import annotations

from pathlib import Path

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
    if ManifestSource.kind(text) and (is_s3(text) or Path(text).expanduser().is_file()):
        return ManifestSource(text if is_s3(text) else str(Path(text).expanduser().absolute()), options)
    if is_s3(text):
        return PrefixSource.parse(text, options)
    path = Path(text).expanduser().absolute()
    if path.is_dir():
        return FolderSource(path)
    if path.is_file():
        raise SourceError(
            f"the source must be a folder or a manifest (.csv, .jsonl, .manifest, .parquet); {path} is "
            "another file. `featherface detect` takes one photo"
        )
    raise SourceError(f"the source must be a folder or s3://bucket/prefix; there is no {text}")
