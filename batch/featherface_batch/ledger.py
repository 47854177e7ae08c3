"""The ledger: what a run is, what of it is done, what failed. The truth for resume and reconciliation.

::

    run.json                       what the run is: source, model, options; refuses to become another once
                                   there is a plan
    _work/plan.json                the plan's contents; there once the source is listed to its end
    _work/plan/PART.parquet        the photos of a part of the plan
    _work/results/PART/SHARD.PHOTOS-ERRORS-FACES.jsonl
                                   a finished shard: one line for each of its photos
    _work/attempts/PART/SHARD/ID   a shard that is being worked on, or was when its worker died
    _work/formats.json             the formats that were written, and whether they agree with the results
                                   (`featherface_batch.written`)
    _work/starts/ID.json           what a start took (`featherface_batch.work`)
    _work/lease.json               there while a command works on the run (`featherface_batch.lease`)
    _SUCCESS                       there once all counts agree

A shard's counts are part of its file's name, so that a listing is enough to know how far a run has come. If a
shard has two files, a retry was cut short before it removed the older one; the newer has fewer errors.
"""

from __future__ import annotations

import json
import logging
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from featherface_batch.errors import OutputMismatchError, ReconciliationError
from featherface_batch.lease import LEASE_NAME
from featherface_batch.plan import Part, Plan, Shard
from featherface_batch.records import Outcome, Tally, read_lines, write_json, write_lines
from featherface_batch.storage import Storage

__all__ = ["Ledger"]

_LOGGER: Final = logging.getLogger(__name__)
_RUN: Final = "run.json"
_PLAN: Final = "_work/plan.json"
_RESULTS: Final = "_work/results"
_SUCCESS: Final = "_SUCCESS"
_RESULT_NAME: Final = re.compile(r"(\d+)\.(\d+)-(\d+)-(\d+)\.jsonl")


@dataclass(frozen=True, slots=True)
class _Result:
    shard: int
    tally: Tally
    name: str


@dataclass(frozen=True, slots=True)
class Ledger:
    """What is known about a run, kept in its output.

    Parameters
    ----------
    storage : Storage
        The run's output.
    """

    storage: Storage

    def check(self, identity: Mapping[str, Any]) -> None:
        """Make sure that the output is free for the run with this identity, or holds it; changes nothing.

        Parameters
        ----------
        identity : mapping
            What must be the same for results to be comparable; JSON values.

        Raises
        ------
        OutputMismatchError
            The output holds another run, or files that are no run's.
        """
        self._check(self._identity(), identity)

    def open(self, identity: Mapping[str, Any]) -> bool:
        """Start or resume the run with this identity; for who holds the run's lease.

        A run that has not listed its source to the end has no results that could mix: it becomes the one with
        this identity, so that a misspelt source can be corrected.

        Parameters
        ----------
        identity : mapping
            As `check` takes it.

        Returns
        -------
        bool
            Whether the output already held this run.

        Raises
        ------
        OutputMismatchError
            The output holds another run, or files that are no run's.
        """
        old = self._identity()
        self._check(old, identity)
        if old is None:
            if self.storage.create(_RUN, write_json(identity)):
                return False
            # Two hold a lease that they found with a dead one, and the other was faster.
            self._refuse_other(self._identity() or {}, identity)
        elif _differences(old, identity):
            _LOGGER.info("the run in %s had not listed its source; it starts anew", self.storage.root)
            self.storage.write(_RUN, write_json(identity))
            return False
        return True

    def _check(self, old: Mapping[str, Any] | None, identity: Mapping[str, Any]) -> None:
        if old is None:
            self._refuse_foreign()
        elif self.plan() is not None:
            self._refuse_other(old, identity)

    def _identity(self) -> dict[str, Any] | None:
        try:
            content = json.loads(self.storage.read(_RUN))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise OutputMismatchError(f"{self.storage.describe(_RUN)} is not a run's: {error}") from error
        if not isinstance(content, dict):
            raise OutputMismatchError(
                f"{self.storage.describe(_RUN)} is not a run's: it must hold an object, got {content!r}"
            )
        return content

    def _refuse_other(self, old: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
        if changed := _differences(old, identity):
            raise OutputMismatchError(
                f"{self.storage.root} holds a run that differs in {'; '.join(changed)}. Results of both "
                "would mix: choose another output, or go on with the same source, model and options"
            )

    def _refuse_foreign(self) -> None:
        # A lease is older than the run that it is for.
        stranger = next((name for name in self.storage.names("") if name != LEASE_NAME), None)
        if stranger is not None:
            raise OutputMismatchError(
                f"{self.storage.root} is not empty (it has {stranger}) and holds no run: "
                "choose an empty or new place"
            )

    def plan(self) -> Plan | None:
        """Return the plan, or None while the source is not listed to its end, or had no photo then."""
        try:
            plan = Plan.from_dict(json.loads(self.storage.read(_PLAN)))
        except FileNotFoundError:
            return None
        return plan if plan.photos else None

    def save_plan(self, plan: Plan) -> None:
        """Record that the source is listed to its end."""
        self.storage.write(_PLAN, write_json(plan.to_dict()))

    def tallies(self) -> dict[str, Tally]:
        """Count the recorded photos of all parts, by the part's name, in one listing."""
        return {
            part: sum((result.tally for result in results.values()), Tally())
            for part, results in self._all_results()
        }

    def finished_shards(self, *, retry_errors: bool) -> int:
        """Count the shards of all parts that `finished` would name, in one listing."""
        return sum(
            len(_without_work(results, retry_errors=retry_errors)) for _, results in self._all_results()
        )

    def finished(self, part: str, *, retry_errors: bool) -> frozenset[int]:
        """Return the numbers of a part's shards that need no more work.

        Parameters
        ----------
        part : str
        retry_errors : bool
            Whether a shard with errors counts as unfinished.
        """
        return _without_work(self._results(part), retry_errors=retry_errors)

    def recorded(self, part: str, shard: int) -> list[Outcome]:
        """Return the outcomes of a finished shard; none if it is unfinished."""
        result = self._results(part, shard).get(shard)
        return [] if result is None else self._read(result)

    def commit(self, shard: Shard, outcomes: Sequence[Outcome], *, again: bool = False) -> Tally:
        """Record a shard's outcomes, all at once.

        Parameters
        ----------
        shard : Shard
        outcomes : sequence of Outcome
        again : bool
            Whether the shard may have been recorded before, so that there is something to replace.

        Raises
        ------
        ReconciliationError
            They are not the outcomes of exactly this shard's photos.
        """
        if [outcome.photo.key for outcome in outcomes] != [photo.key for photo in shard.photos]:
            raise ReconciliationError(
                f"shard {shard.part}/{shard.number} has {len(shard.photos)} photos; "
                f"{len(outcomes)} outcomes came, or others"
            )
        older = self._results(shard.part, shard.number, every=True) if again else {}
        tally = Tally.of(outcomes)
        name = f"{_folder(shard.part)}/{shard.number:05d}.{tally.photos}-{tally.errors}-{tally.faces}.jsonl"
        self.storage.write(name, write_lines(outcome.to_dict() for outcome in outcomes))
        for result in older.values():
            if result.name != name:
                self.storage.delete(result.name)
        return tally

    def outcomes(self, parts: Iterable[Part]) -> Iterator[Outcome]:
        """Yield the outcomes of all photos of parts of the plan in its order.

        Raises
        ------
        ReconciliationError
            A shard is missing.
        """
        for part in parts:
            results = self._results(part.name)
            if len(results) != part.shards:
                raise ReconciliationError(
                    f"part {part.name} has {part.shards} shards, {len(results)} are recorded; "
                    "run the same command again"
                )
            for shard in sorted(results):
                yield from self._read(results[shard])

    def succeed(self, content: Mapping[str, Any]) -> None:
        """Mark the run as complete."""
        self.storage.write(_SUCCESS, write_json(content))

    def reopen(self) -> None:
        """Take the mark of completeness away, before anything changes."""
        self.storage.delete(_SUCCESS)

    def begin_attempt(self, shard: Shard) -> str:
        """Leave a trace that work on a shard has begun; returns its name for `end_attempt`."""
        name = f"_work/attempts/{shard.part}/{shard.number:05d}/{uuid.uuid4().hex}"
        # Not forced to the disk: it tells of the worker's death, not of the machine's.
        self.storage.write_many([(name, b"")])
        return name

    def end_attempt(self, name: str) -> None:
        """Remove an attempt's trace."""
        self.storage.delete(name)

    def lost_attempts(self, shard: Shard) -> list[str]:
        """Return traces of attempts whose worker died."""
        return list(self.storage.names(f"_work/attempts/{shard.part}/{shard.number:05d}"))

    def _read(self, result: _Result) -> list[Outcome]:
        outcomes = [Outcome.from_dict(row) for row in read_lines(self.storage.read(result.name))]
        if (found := Tally.of(outcomes)) != result.tally:
            raise ReconciliationError(
                f"{self.storage.describe(result.name)} should have {result.tally}, it has {found}"
            )
        return outcomes

    def _all_results(self) -> Iterator[tuple[str, dict[Any, _Result]]]:
        """Yield each part's name and its finished shards by number, in one listing."""
        listed = groupby(self.storage.names(_RESULTS), key=lambda name: name.rsplit("/", 2)[1])
        for part, names in listed:
            yield part, _found(names)

    def _results(self, part: str, shard: int | None = None, *, every: bool = False) -> dict[Any, _Result]:
        """Return the finished shards of a part by number, or every file of them by name."""
        found = _found(self.storage.names(_folder(part)), every=every)
        return {key: result for key, result in found.items() if shard in {None, result.shard}}


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    return [
        f"{name}: there {old.get(name)!r}, now {new.get(name)!r}"
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]


def _found(names: Iterable[str], *, every: bool = False) -> dict[Any, _Result]:
    found: dict[Any, _Result] = {}
    for name in names:
        match = _RESULT_NAME.fullmatch(name.rpartition("/")[2])
        if match is None:
            continue
        shard, *counts = map(int, match.groups())
        result = _Result(shard, Tally(*counts), name)
        key = name if every else shard
        if key not in found or result.tally.errors < found[key].tally.errors:
            found[key] = result
    return found


def _without_work(results: Mapping[Any, _Result], *, retry_errors: bool) -> frozenset[int]:
    return frozenset(
        result.shard for result in results.values() if not (retry_errors and result.tally.errors)
    )


def _folder(part: str) -> str:
    return f"{_RESULTS}/{part}"
