"""What libraries in C++ say on standard error past Python's logging."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["without_line"]

_STANDARD_ERROR: Final = 2


@contextmanager
def without_line(part: str) -> Iterator[None]:
    """Hold back what is said on standard error until the block ends; lines that hold `part` are left out.

    The whole process's standard error is meant, below Python: its threads, and children that inherit it.

    Parameters
    ----------
    part : str
    """
    try:
        kept = os.dup(_STANDARD_ERROR)
    except OSError:
        # A process without one, such as a daemon, has nobody to spare a line.
        yield
        return
    with tempfile.TemporaryFile() as said:
        _flush()
        os.dup2(said.fileno(), _STANDARD_ERROR)
        try:
            yield
        finally:
            _flush()
            os.dup2(kept, _STANDARD_ERROR)
            os.close(kept)
            said.seek(0)
            for line in said:
                if part.encode() not in line:
                    os.write(_STANDARD_ERROR, line)


def _flush() -> None:
    # A process that was started without standard streams has None.
    if sys.stderr is not None:
        sys.stderr.flush()
