"""How many photos a run may lose before it stops."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from featherface_batch.errors import TooManyErrorsError, UsageError
from featherface_batch.records import Tally

__all__ = ["ErrorLimit"]

# A count of photos, or a percentage up to 100. The API's description has the same.
_TEXT: Final = re.compile(r"[0-9]{1,18}|(100(\.0+)?|[0-9]{1,2}(\.[0-9]+)?)%")


@dataclass(frozen=True, slots=True)
class ErrorLimit:
    """A number of photos, or a part of all the photos of the run.

    Parameters
    ----------
    count : int, optional
    percent : float, optional
    """

    count: int | None = None
    percent: float | None = None

    @classmethod
    def parse(cls, text: str) -> ErrorLimit:
        """Read ``100`` or ``2.5%``; UsageError for anything else."""
        if not _TEXT.fullmatch(text):
            raise UsageError(f"--max-errors takes a number of photos or a percentage like 2.5%; got {text!r}")
        return cls(percent=float(text[:-1])) if text.endswith("%") else cls(count=int(text))

    def check(self, tally: Tally, planned: int) -> None:
        """Raise TooManyErrorsError if more photos have failed than may."""
        allowed = self.count if self.percent is None else int(planned * self.percent / 100)
        if allowed is not None and tally.errors > allowed:
            raise TooManyErrorsError(
                f"{tally.errors} of {tally.photos} photos ended as an error, {allowed} may. What is done is "
                "kept: run the same command with a higher --max-errors to go on, or with --retry-errors"
            )
