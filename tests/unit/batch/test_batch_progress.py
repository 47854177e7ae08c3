"""The progress tells how far a run is, and never ends one."""

import json
import logging
from pathlib import Path

import pytest

from featherface_batch.errors import StorageError
from featherface_batch.progress import PROGRESS_NAME, Progress
from featherface_batch.records import Tally
from featherface_batch.storage import LocalStorage


class FailingStorage(LocalStorage):
    """A storage that is away."""

    def write(self, name: str, data: bytes) -> None:
        raise StorageError(f"{name} cannot be written: SlowDown")


def test_a_storage_that_is_away_for_a_while_costs_no_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), Progress(2, Tally(), FailingStorage(tmp_path)) as progress:
        progress.add(Tally(1, 0, 3))
        progress.writing()
    assert progress.tally == Tally(1, 0, 3)
    assert "the progress could not be written: progress.json cannot be written: SlowDown" in caplog.text


def test_the_file_says_how_a_run_ended(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)

    def state() -> str:
        return str(json.loads(storage.read(PROGRESS_NAME))["state"])

    def fail() -> None:
        with Progress(2, Tally(), storage):
            raise StorageError("away")

    with Progress(2, Tally(), storage) as progress:
        assert state() == "running"
        progress.writing()
        assert state() == "writing"
    assert state() == "complete"
    with pytest.raises(StorageError, match="away"):
        fail()
    assert state() == "stopped"
