"""The environment variables that say where the functions read and write."""

from __future__ import annotations

import os
from collections.abc import Mapping

from shared.errors import SetupError

__all__ = ["required"]


def required(name: str, environ: Mapping[str, str] | None = None) -> str:
    """Return an environment variable's value.

    Parameters
    ----------
    name : str
    environ : mapping, optional
        The process environment if omitted.

    Raises
    ------
    SetupError
        It is missing or empty.
    """
    value = (os.environ if environ is None else environ).get(name)
    if not value:
        raise SetupError(
            f"the environment variable {name} is not set; the template sets it for each function"
        )
    return value
