"""Sections: stretches of the plan that are written apart from each other, and together are the whole run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from featherface_batch.errors import ReconciliationError
from featherface_batch.plan import PART_PHOTOS, Part, Plan
from featherface_batch.records import Tally

__all__ = ["Section", "cut", "make_sections"]

# Single files are put together from the sections' pieces, and S3 takes 10,000 of them.
_MOST: Final = 4000


@dataclass(frozen=True, slots=True)
class Section:
    """Consecutive parts of the plan that one task writes.

    Parameters
    ----------
    number : int
        Place within the run, from 0.
    parts : tuple of Part
    before : Tally
        Of all sections before this one: what it writes starts counting there.
    tally : Tally
        Of this one.
    names : mapping of int to int
        Photos whose file cannot have the name that it would have alone; see `featherface_batch.naming`.
    """

    number: int
    parts: tuple[Part, ...]
    before: Tally
    tally: Tally
    names: Mapping[int, int] = field(default_factory=dict)


def make_sections(plan: Plan, tallies: Mapping[str, Tally], photos: int = PART_PHOTOS) -> list[Section]:
    """Cut a plan whose photos all have an outcome.

    Parameters
    ----------
    plan : Plan
    tallies : mapping of str to Tally
        What is recorded, by part.
    photos : int
        Of a section, about; more if there would be too many sections.

    Raises
    ------
    ReconciliationError
        Photos without an outcome are left.
    """
    for part in plan.parts:
        recorded = tallies.get(part.name, Tally()).photos
        if recorded != part.photos:
            raise ReconciliationError(
                f"part {part.name} has {part.photos} photos, {recorded} are recorded; "
                "run the same command again"
            )
    sections: list[Section] = []
    before = Tally()
    for number, parts in enumerate(cut(plan, photos)):
        tally = sum((tallies[part.name] for part in parts), Tally())
        sections.append(Section(number, parts, before, tally))
        before += tally
    return sections


def cut(plan: Plan, photos: int = PART_PHOTOS) -> list[tuple[Part, ...]]:
    """Return the parts of each section; both parameters are as `make_sections` takes them."""
    photos = max(photos, -(-plan.photos // _MOST))
    sections: list[tuple[Part, ...]] = []
    parts: list[Part] = []
    for part, following in zip(plan.parts, [*plan.parts[1:], None], strict=True):
        parts.append(part)
        if following is None or sum(part.photos for part in parts) + following.photos > photos:
            sections.append(tuple(parts))
            parts = []
    return sections
