"""An output must not lie inside of its source: the next run would take what this one wrote for photos."""

from __future__ import annotations

import os

from featherface_batch.errors import UsageError
from featherface_batch.s3 import is_s3
from featherface_batch.sources import Source
from featherface_batch.storage import Storage

__all__ = ["refuse_overlap"]


def refuse_overlap(source: Source, storage: Storage) -> None:
    """Make sure that an output lies outside of a source.

    Parameters
    ----------
    source : Source
    storage : Storage
        Of the output.

    Raises
    ------
    UsageError
        It lies inside.
    """
    if _place(storage.root).startswith(_place(source.name)):
        raise UsageError(
            f"the output {storage.root} lies inside of the source {source.name}: choose another place"
        )


def _place(name: str) -> str:
    """Return where a name really leads, with a slash behind it: links and ``..`` hide what lies in what."""
    return f"{(name if is_s3(name) else os.path.realpath(name)).rstrip('/')}/"
