"""Labels that others keep as MATLAB's files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .wider import LabelError

__all__ = ["read_mat"]


@contextmanager
def read_mat(path: Path, content: str) -> Iterator[dict[str, Any]]:
    """Read a MATLAB file; whatever is not found where the block looks for it is an error of the file.

    Parameters
    ----------
    path : Path
    content : str
        What the file should hold, for the message.

    Yields
    ------
    dict of str to ndarray
        The variables by name.

    Raises
    ------
    LabelError
        If the file can't be read, or has another layout than the block expects.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        yield loadmat(str(path))
    except (OSError, MatReadError, ValueError, KeyError, IndexError, TypeError) as error:
        raise LabelError(f"{path}: expected {content}, got {type(error).__name__}: {error}") from error
