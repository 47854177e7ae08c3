"""Who lists a source: this process, as far as that takes no time, else tasks."""

import os
from pathlib import Path

import pytest
from branches import Branches

from featherface_batch.ledger import Ledger
from featherface_batch.plan import read_part
from featherface_batch.planning import Planner
from featherface_batch.storage import LocalStorage


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize(
    ("sizes", "by_tasks"),
    [
        ((70_000,), set()),
        ((3, 0, 40, 1), set()),
        ((3, 5000, 0, 2), {1, 2, 3}),
        ((1,) * 20, set(range(20))),
    ],
    ids=["one", "few", "large", "many"],
)
def test_whoever_lists_a_source_the_plan_is_the_same(
    tmp_path: Path, sizes: tuple[int, ...], by_tasks: set[int]
) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    source, storage = Branches(sizes, notes), LocalStorage(tmp_path / "out")
    planner = Planner(source, Ledger(storage))
    plan = planner.list_here()
    assert (plan is None) == bool(by_tasks)
    plan = plan or planner.list_by_tasks()
    shards = [shard for part in plan.parts for shard in read_part(part.name, storage)]
    listed = {partition: source.listers(partition) for partition in range(len(sizes))}
    assert {partition for partition, listers in listed.items() if listers - {os.getpid()}} == by_tasks
    assert all(listed.values())
    expected = [photo for partition in source.partitions() for photo in source.photos(partition)]
    assert [photo for shard in shards for photo in shard.photos] == expected
    assert (plan.photos, plan.shards) == (len(expected), len(shards))
