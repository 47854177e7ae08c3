"""What a run's report tells, gathered outcome by outcome in little memory."""

from __future__ import annotations

import heapq
import zlib
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, Final

from featherface_batch.records import Outcome, Tally

__all__ = ["Histogram", "Statistics"]

_GALLERY: Final = 12
_EXAMPLES: Final = 5
_CODES: Final = 50


class Histogram:
    """Counts by range.

    Parameters
    ----------
    edges : sequence of float
        Ascending; a range holds its lower edge. What lies outside counts to the first or last range.
    """

    def __init__(self, edges: Sequence[float]) -> None:
        self.edges = tuple(edges)
        self.counts = [0] * (len(edges) - 1)

    def add(self, value: float) -> None:
        """Count a value."""
        index = bisect_right(self.edges, value) - 1
        self.counts[min(max(index, 0), len(self.counts) - 1)] += 1

    def merge(self, other: Histogram) -> None:
        """Add what another one counted in the same ranges."""
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]


class Statistics:
    """Counts, histograms, errors by code, and a sample of photos with faces."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.with_faces = 0
        self.confidence = Histogram([number / 20 for number in range(21)])
        self.face_height = Histogram([0, 8, 16, 32, 64, 128, 256, 512, 1024, 65_536])
        self.per_photo = Histogram([0, 1, 2, 3, 5, 10, 20, 50, 100, 1_000_000])
        self.errors: Counter[str] = Counter()
        self.examples: defaultdict[str, list[Outcome]] = defaultdict(list)
        self._sample: list[tuple[int, str, str, Outcome]] = []

    def add(self, outcome: Outcome) -> None:
        """Count an outcome."""
        self.tally += Tally.of([outcome])
        if outcome.detections is None:
            self._add_error(outcome, str(outcome.code))
            return
        faces = outcome.detections["faces"]
        self.per_photo.add(len(faces))
        for face in faces:
            self.confidence.add(face["confidence"])
            self.face_height.add(face["box"]["height"])
        if faces:
            self.with_faces += 1
            self._consider(outcome)

    def merge(self, other: Statistics) -> None:
        """Add what was gathered from later photos of the run."""
        self.tally += other.tally
        self.with_faces += other.with_faces
        for mine, theirs in (
            (self.confidence, other.confidence),
            (self.face_height, other.face_height),
            (self.per_photo, other.per_photo),
        ):
            mine.merge(theirs)
        for code, count in other.errors.items():
            self.errors[code] += count
            if code in self.examples or len(self.examples) < _CODES:
                self.examples[code] = [*self.examples[code], *other.examples.get(code, ())][:_EXAMPLES]
        for *_, outcome in other._sample:
            self._consider(outcome)

    @property
    def sample(self) -> list[Outcome]:
        """Return a few photos with faces, the same ones for the same run, in the run's order."""
        return [outcome for *_, outcome in sorted(self._sample, key=lambda entry: entry[1:3])]

    def to_dict(self) -> dict[str, Any]:
        """Return the counts as JSON values."""
        return {
            "photos": self.tally.photos,
            "errors": self.tally.errors,
            "faces": self.tally.faces,
            "photos_with_faces": self.with_faces,
            "errors_by_code": dict(self.errors.most_common()),
        }

    def _add_error(self, outcome: Outcome, code: str) -> None:
        self.errors[code] += 1
        if code in self.examples or len(self.examples) < _CODES:
            self.examples[code] = [*self.examples[code], outcome][:_EXAMPLES]

    def _consider(self, outcome: Outcome) -> None:
        key = outcome.photo.key
        # By a hash of the key: any photo has the same chance, and a repeated run shows the same ones.
        # No two photos lie in one place, so that two of one name never compare as outcomes.
        entry = (-zlib.crc32(key.encode()), key, outcome.photo.location, outcome)
        if len(self._sample) < _GALLERY:
            heapq.heappush(self._sample, entry)
        elif entry[:3] > self._sample[0][:3]:
            heapq.heapreplace(self._sample, entry)
