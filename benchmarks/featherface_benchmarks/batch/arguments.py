"""What the benchmarks accept on their command line: said there, and not by a traceback minutes later."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path

__all__ = ["contestants", "folder_of_photos", "number_above", "photos_of", "whole_number"]


def photos_of(folder: Path) -> list[Path]:
    """Return the files of a folder and of those in it, in a fixed order."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def folder_of_photos(text: str) -> Path:
    """Return a folder that has files."""
    folder = Path(text)
    if not folder.is_dir():
        raise ArgumentTypeError(f"expected a folder of photos; {text} is none")
    if not photos_of(folder):
        raise ArgumentTypeError(f"expected a folder of photos; {text} has no file")
    return folder


def whole_number(text: str) -> int:
    """Return a whole number of at least 1."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return number


def number_above(least: float, *, included: bool = False) -> Callable[[str], float]:
    """Return what reads a finite number above a bound.

    Parameters
    ----------
    least : float
    included : bool
        Whether the bound itself will do.
    """

    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number) or number < least or (number == least and not included):
            wanted = f"of at least {least:g}" if included else f"above {least:g}"
            raise ArgumentTypeError(f"expected a number {wanted}, got {text!r}")
        return number

    return read


def contestants(text: str) -> list[str]:
    """Return names of contestants, written with commas between them; the plain loop is always one."""
    # Imported here: a mistyped number needs no model.
    from featherface_benchmarks.batch.contestants import CONTESTANTS
    from featherface_benchmarks.batch.speed import LOOP

    known = [name for name in CONTESTANTS if name != LOOP]
    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in known]
    if unknown or len(set(names)) < len(names):
        raise ArgumentTypeError(
            f"expected contestants of {', '.join(known)}, each once and with commas between; got {text!r}"
        )
    return names
