from __future__ import annotations

import random
import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from shared import snapshots
from shared.clients import client


@pytest.fixture
def hooks(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """What the runtime's module is told."""
    told: list[Callable[[], None]] = []
    runtime = SimpleNamespace(register_before_snapshot=told.append, register_after_restore=told.append)
    monkeypatch.setitem(sys.modules, "snapshot_restore_py", runtime)  # type: ignore[arg-type]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    return told


def test_hooks_are_for_snapshots_only(
    hooks: list[Callable[[], None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
    snapshots.register_hooks()
    assert hooks == []
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")
    snapshots.register_hooks()
    assert hooks == [snapshots.before_snapshot, snapshots.after_restore]


def test_no_client_and_no_random_state_outlive_a_snapshot(hooks: list[Callable[[], None]]) -> None:
    client.cache_clear()
    before = client("s3")
    snapshots.before_snapshot()
    assert "detect.multipart" in sys.modules
    assert client.cache_info().currsize == 0
    within = client("s3")
    assert within is not before
    random.seed(7)
    expected = random.Random(7).random()
    snapshots.after_restore()
    assert random.random() != expected
    assert client("s3") is not within
    client.cache_clear()
