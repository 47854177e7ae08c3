"""The functions' log on a terminal: Lambda's own JSON lines, as far as a developer needs them."""

from __future__ import annotations

import logging
from typing import Final

__all__ = ["show_log"]

_MEMBERS: Final = ("error_code", "reason")


class _Line(logging.Formatter):
    """One line a record: the id that the answer calls ``request_id``, the message, and what came with it."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(request)s%(message)s%(members)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        told = {name: getattr(record, name, None) for name in _MEMBERS}
        record.members = "".join(f", {name}: {value}" for name, value in told.items() if value is not None)
        request = getattr(record, "correlation_id", None)
        record.request = f"{request} " if request else ""
        return super().format(record)


def show_log() -> None:
    """Print what the functions log, from warnings on, to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Line())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    # at INFO already, for Lambda's sake
    handler.setLevel(logging.WARNING)
