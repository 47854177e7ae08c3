"""Which formats an output holds, and which of them are older than the results.

A later start may change results: it retries errors. What it doesn't write anew would then contradict the rest
under one mark of completeness, so every format that was ever written is, until it agrees again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from featherface_batch.records import write_json
from featherface_batch.storage import Storage

__all__ = ["WrittenFormats"]

_NAME: Final = "_work/formats.json"


class WrittenFormats:
    """The formats of one output.

    Parameters
    ----------
    storage : Storage
        The output. What it holds is read now.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._current = self._read()

    @property
    def names(self) -> tuple[str, ...]:
        """All formats that the output holds, in alphabetical order."""
        return tuple(sorted(self._current))

    def outdate(self) -> None:
        """Record, before results change, that no format agrees with them any more."""
        if any(self._current.values()):
            self._save(dict.fromkeys(self._current, False))

    def begin(self, asked: Sequence[str]) -> tuple[str, ...]:
        """Return what to write: what is asked for, then what the output holds from before and is outdated."""
        older = sorted(name for name, current in self._current.items() if not current)
        due = tuple(dict.fromkeys([*asked, *older]))
        # should this start die while it writes, the next one knows
        self._save({**self._current, **dict.fromkeys(due, False)})
        return due

    def end(self, written: Sequence[str]) -> None:
        """Record that these formats agree with the results."""
        self._save({**self._current, **dict.fromkeys(written, True)})

    def _read(self) -> dict[str, bool]:
        try:
            found = json.loads(self._storage.read(_NAME))
        except FileNotFoundError:
            found = {}
        return {name: bool(current) for name, current in found.items()}

    def _save(self, current: dict[str, bool]) -> None:
        self._current = current
        self._storage.write(_NAME, write_json(current))
