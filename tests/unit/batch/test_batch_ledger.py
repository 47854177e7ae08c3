import json
from pathlib import Path

import pytest

from featherface import Detections
from featherface_batch.errors import MissingPhotoError, OutputMismatchError, ReconciliationError
from featherface_batch.lease import Lease
from featherface_batch.ledger import Ledger
from featherface_batch.plan import Part, Plan, Shard
from featherface_batch.records import Outcome, Photo, Tally
from featherface_batch.storage import LocalStorage

PHOTOS = tuple(Photo(f"{name}.jpg", f"/photos/{name}.jpg") for name in "abc")
SHARD = Shard("00000-00000", 4, PHOTOS)
PLAN = Plan((Part("00000-00000", 3, 1),))
FINE = [Outcome.success(photo, Detections(10, 10)) for photo in PHOTOS]
ONE_FAILED = [*FINE[:2], Outcome.failure(PHOTOS[2], MissingPhotoError("gone"))]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(LocalStorage(tmp_path / "out"))


def test_a_run_goes_on_under_the_same_identity_only(ledger: Ledger) -> None:
    assert ledger.open({"model": "a", "size": 640}) is False
    assert ledger.open({"size": 640, "model": "a"}) is True
    ledger.save_plan(PLAN)
    assert ledger.open({"size": 640, "model": "a"}) is True
    for refusing in (ledger.open, ledger.check):
        with pytest.raises(OutputMismatchError, match=r"model: there 'a', now 'b'.*choose another output"):
            refusing({"model": "b", "size": 640})


@pytest.mark.parametrize("plan", [None, Plan(())], ids=["unlisted", "empty"])
def test_a_run_without_a_photo_may_become_another(ledger: Ledger, plan: Plan | None) -> None:
    ledger.open({"source": "s3://phtoos/"})
    if plan is not None:
        # as versions before 0.33 left it
        ledger.save_plan(plan)
    ledger.check({"source": "s3://photos/"})
    assert ledger.open({"source": "s3://photos/"}) is False
    assert ledger.open({"source": "s3://photos/"}) is True
    ledger.save_plan(PLAN)
    with pytest.raises(OutputMismatchError, match="there 's3://photos/'"):
        ledger.check({"source": "s3://phtoos/"})


def test_of_two_that_start_a_run_at_once_the_first_says_what_it_is(tmp_path: Path) -> None:
    class Slow(LocalStorage):
        def create(self, name: str, data: bytes) -> bool:
            # whoever else was at it has written in the meantime
            assert LocalStorage(tmp_path).create(name, b'{"confidence": 0.5}')
            return super().create(name, data)

    with pytest.raises(OutputMismatchError, match=r"confidence: there 0\.5, now 0\.9"):
        Ledger(Slow(tmp_path)).open({"confidence": 0.9})
    assert json.loads((tmp_path / "run.json").read_bytes()) == {"confidence": 0.5}


def test_a_look_changes_nothing_and_a_lease_is_no_stranger(ledger: Ledger, tmp_path: Path) -> None:
    ledger.check({"model": "a"})
    assert not (tmp_path / "out").exists()
    with Lease(ledger.storage):
        ledger.check({"model": "a"})
        assert ledger.open({"model": "a"}) is False


@pytest.mark.parametrize("content", [b"{", b"[]", b"7"])
def test_a_file_that_is_no_run_is_left_alone(ledger: Ledger, content: bytes) -> None:
    ledger.storage.write("run.json", content)
    with pytest.raises(OutputMismatchError, match=r"run\.json is not a run's"):
        ledger.check({"model": "a"})


def test_a_place_with_other_files_is_left_alone(ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.doc").write_text("precious")
    with pytest.raises(OutputMismatchError, match=r"thesis\.doc"):
        ledger.open({"model": "a"})
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.doc"]


def test_a_commit_can_be_read_back_and_counted(ledger: Ledger) -> None:
    assert ledger.commit(SHARD, ONE_FAILED) == Tally(3, 1)
    assert ledger.tallies() == {SHARD.part: Tally(3, 1)}
    assert ledger.recorded(SHARD.part, 4) == ONE_FAILED
    assert list(ledger.outcomes(PLAN.parts)) == ONE_FAILED


def test_only_a_retry_takes_a_shard_with_errors_as_unfinished(ledger: Ledger) -> None:
    ledger.commit(SHARD, ONE_FAILED)
    assert ledger.finished(SHARD.part, retry_errors=False) == {4}
    assert ledger.finished(SHARD.part, retry_errors=True) == frozenset()


def test_a_retry_replaces_what_was_recorded(ledger: Ledger, tmp_path: Path) -> None:
    ledger.commit(SHARD, ONE_FAILED)
    ledger.commit(SHARD, FINE, again=True)
    assert ledger.tallies() == {SHARD.part: Tally(3, 0)}
    assert len(list((tmp_path / "out/_work/results/00000-00000").iterdir())) == 1


def test_of_two_files_of_a_shard_the_one_with_fewer_errors_counts(ledger: Ledger, tmp_path: Path) -> None:
    ledger.commit(SHARD, FINE)
    newer = next((tmp_path / "out/_work/results/00000-00000").iterdir())
    kept = newer.read_bytes()
    newer.unlink()
    ledger.commit(SHARD, ONE_FAILED)
    newer.write_bytes(kept)
    assert ledger.tallies() == {SHARD.part: Tally(3, 0)}
    assert list(ledger.outcomes(PLAN.parts)) == FINE


@pytest.mark.parametrize("outcomes", [FINE[:2], [*FINE, FINE[0]], [FINE[1], FINE[0], FINE[2]]])
def test_a_commit_takes_exactly_the_photos_of_its_shard(ledger: Ledger, outcomes: list[Outcome]) -> None:
    with pytest.raises(ReconciliationError, match="has 3 photos"):
        ledger.commit(SHARD, outcomes)


def test_a_missing_shard_does_not_reconcile(ledger: Ledger) -> None:
    with pytest.raises(ReconciliationError, match="1 shards, 0 are recorded"):
        list(ledger.outcomes(PLAN.parts))


def test_a_shortened_file_does_not_reconcile(ledger: Ledger, tmp_path: Path) -> None:
    ledger.commit(SHARD, FINE)
    file = next((tmp_path / "out/_work/results/00000-00000").iterdir())
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:2]))
    with pytest.raises(ReconciliationError, match="should have 3 photos, 0 errors, 0 faces, it has 2 photos"):
        list(ledger.outcomes(PLAN.parts))


def test_an_attempt_leaves_a_trace_until_it_ends(ledger: Ledger) -> None:
    name = ledger.begin_attempt(SHARD)
    assert ledger.lost_attempts(SHARD) == [name]
    ledger.end_attempt(name)
    assert ledger.lost_attempts(SHARD) == []


def test_the_plan_is_there_once_it_is_saved(ledger: Ledger) -> None:
    assert ledger.plan() is None
    ledger.save_plan(PLAN)
    assert ledger.plan() == PLAN
