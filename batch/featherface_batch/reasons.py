"""Why a task or an actor of Ray failed, in a line."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["reason_of"]

# As Python ends a traceback: the class, and what it says.
_RAISED: Final = re.compile(r"^[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit)\b(?::.*)?$")
_RAY: Final = "ray."


def reason_of(error: BaseException) -> str:
    """Return what the code that Ray ran has failed with.

    Ray hands that over as text: the tracebacks of all that was raised, one because of the other, its own
    errors last, which end with advice on its options.

    Parameters
    ----------
    error : BaseException
        A `ray.exceptions.RayError`.

    Returns
    -------
    str
        The last line that names an exception which is not Ray's own; the last line if there is none.
    """
    lines = str(error).strip().splitlines() or [type(error).__name__]
    raised = [line for line in lines if _RAISED.match(line) and not line.startswith(_RAY)]
    return raised[-1] if raised else lines[-1]
