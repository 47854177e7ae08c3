"""What every function that detects does at init, before any request."""

from __future__ import annotations

from collections.abc import Mapping

from featherface import FeatherFaceError, load_settings
from shared.detectors import Detectors
from shared.observability import record_init_failure

__all__ = ["start_detectors"]


def start_detectors(environ: Mapping[str, str] | None = None) -> Detectors:
    """Read the settings, prove the model, make its session, run it once.

    Parameters
    ----------
    environ : mapping, optional
        The process environment if omitted.

    Raises
    ------
    FeatherFaceError
        The function cannot serve. A metric has been sent, and Lambda reports the failed init.
    """
    try:
        return Detectors(load_settings(environ=environ))
    except FeatherFaceError as error:
        record_init_failure(error.code, str(error))
        raise
