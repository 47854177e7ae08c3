"""What the bulk job asks of the Ray that it starts, this Ray understands."""

from __future__ import annotations

from pathlib import Path

import pytest
import ray

from featherface_batch.cluster import UNREAD

RAY = Path(ray.__file__).parent


@pytest.mark.parametrize("name", UNREAD)
def test_ray_knows_the_settings_by_these_names(name: str) -> None:
    """Ray ignores those that it does not know: one that it renames would silently do nothing."""
    if name.startswith("RAY_"):
        program = (RAY / "core/src/ray/raylet/raylet").read_bytes()
        assert b"\0" + name.removeprefix("RAY_").encode() + b"\0" in program
    else:
        assert name in (RAY / "dashboard/modules/reporter/reporter_consts.py").read_text()
