"""Names of files that stand for a photo: its own with another suffix, unless another photo has that name.

Photos of one folder may differ in nothing but their suffix, and keys of a list in nothing that a path can
show. The first photo of the plan gets the plain name, ``a.txt`` for ``a.jpg``; the next ones keep their
suffix, ``a.png.txt``; if even that is taken, a hash of the key tells them apart. What cameras write beside a
JPEG, ``a.nef``, comes after all others, and a name that a folder of other photos needs is taken, too.
Who gets which name follows from the plan alone, whatever has failed and whoever writes.

Pictures are written while a photo is at hand, when nobody knows the other names: theirs follow from the key
alone, see `picture_name`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Final

import numpy as np
import numpy.typing as npt

from featherface_batch.records import safe_path
from featherface_batch.sources.naming import PHOTO_SUFFIXES, RAW_SUFFIXES

__all__ = [
    "KEPT",
    "LABEL_SUFFIXES",
    "PLAIN",
    "UNIQUE",
    "Digests",
    "digests",
    "file_name",
    "find_clashes",
    "picture_name",
]

PLAIN: Final = 0
"""The photo's name with another suffix."""
KEPT: Final = 1
"""Its whole name and another suffix."""
UNIQUE: Final = 2
"""The same with a hash of its key."""

LABEL_SUFFIXES: Final = (".txt", ".xml")
"""Suffixes of the files that formats with a file per photo write."""

_JPEG: Final = ".jpg"
_JPEGS: Final = frozenset({_JPEG, ".jpeg"})


def file_name(key: str, form: int, suffix: str) -> str:
    """Return the name of a photo's file.

    Parameters
    ----------
    key : str
        Of the photo.
    form : int
        `PLAIN`, `KEPT` or `UNIQUE`.
    suffix : str
        With its dot.
    """
    path = safe_path(key)
    if form == PLAIN:
        return str(path.with_suffix(suffix))
    if form == KEPT:
        return f"{path}{suffix}"
    return f"{path}.{hashlib.blake2b(key.encode(), digest_size=6).hexdigest()}{suffix}"


def picture_name(key: str) -> str:
    """Return the name of a photo's picture, a JPEG; no two photos have the same.

    A JPEG's is its own, another photo's has ``.jpg`` behind it: ``a.png.jpg`` for ``a.png``. A hash of the
    key tells apart what could be both (a key ``a.png.jpg``), what has no suffix that says photo, and keys
    that are no path below a folder.

    Parameters
    ----------
    key : str
        Of the photo.
    """
    path = safe_path(key)
    suffix = path.suffix.lower()
    if str(path) == key and suffix in _JPEGS and not _is_added_to(path.with_suffix("")):
        return key
    if str(path) == key and _is_added_to(path):
        return file_name(key, KEPT, _JPEG)
    return file_name(key, UNIQUE, _JPEG)


def _is_added_to(path: PurePosixPath) -> bool:
    """Whether a photo of this name has a picture of this name and a suffix behind it."""
    suffix = path.suffix.lower()
    return suffix in PHOTO_SUFFIXES and suffix not in _JPEGS


@dataclass(frozen=True, slots=True)
class Digests:
    """What photos ask of the names of files, as 64-bit digests.

    Parameters
    ----------
    names : ndarray of uint64, shape (N, 2)
        Of both names that a photo's file may have, without the file's suffix.
    raw : ndarray of bool, shape (N,)
        Whether a photo is one that cameras write beside a JPEG.
    folders : ndarray of uint64, shape (M,)
        Of the names of folders that files of photos could have, too, without their suffix.
    """

    names: npt.NDArray[np.uint64]
    raw: npt.NDArray[np.bool_]
    folders: npt.NDArray[np.uint64]


def digests(keys: Iterable[str]) -> Digests:
    """Return what photos of these keys ask of the names of files."""
    rows = []
    raw = []
    folders: set[PurePosixPath] = set()
    for key in keys:
        path = safe_path(key)
        rows.append((_digest(path.with_suffix("")), _digest(path)))
        raw.append(path.suffix.lower() in RAW_SUFFIXES)
        for depth, part in enumerate(path.parts[:-1], 1):
            if part.lower().endswith(LABEL_SUFFIXES):
                folders.add(PurePosixPath(*path.parts[:depth]).with_suffix(""))
    return Digests(
        np.array(rows, np.uint64).reshape(-1, 2),
        np.array(raw, np.bool_),
        np.array([_digest(one) for one in folders], np.uint64),
    )


def find_clashes(parts: Sequence[Digests]) -> list[dict[int, int]]:
    """Return, for each stretch of photos, those that need another name than the plain one.

    Parameters
    ----------
    parts : sequence of Digests
        Of the run's photos, in the plan's order.

    Returns
    -------
    list of dict of int to int
        Index within the stretch to `KEPT` or `UNIQUE`.
    """
    every = np.concatenate([*(part.names for part in parts), np.empty((0, 2), np.uint64)])
    folders = np.concatenate([*(part.folders for part in parts), np.empty(0, np.uint64)])
    # A JPEG must not lose its plain name to the photo that it was made of, and that has no result.
    order = np.argsort(np.concatenate([*(part.raw for part in parts), np.empty(0, np.bool_)]), kind="stable")
    plain, kept = every[order, 0], every[order, 1]
    _, first = np.unique(plain, return_index=True)
    later = np.ones(len(every), bool)
    later[first] = False
    later |= np.isin(plain, folders)
    (clashing,) = np.nonzero(later)
    _, first_kept = np.unique(kept[clashing], return_index=True)
    unique = np.ones(len(clashing), bool)
    unique[first_kept] = False
    unique |= np.isin(kept[clashing], plain[~later]) | np.isin(kept[clashing], folders)
    forms = np.where(unique, UNIQUE, KEPT)
    clashing = order[clashing]
    starts = np.cumsum([0, *(len(part.names) for part in parts)])
    return [
        {int(index - start): int(form) for index, form in zip(clashing[chosen], forms[chosen], strict=True)}
        for start, end in pairwise(starts)
        for chosen in [(clashing >= start) & (clashing < end)]
    ]


def _digest(path: PurePosixPath) -> int:
    return int.from_bytes(hashlib.blake2b(str(path).encode(), digest_size=8).digest(), "little")
