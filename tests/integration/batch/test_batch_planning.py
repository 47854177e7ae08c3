"""Who lists a source: this process, as far as that takes no time, else tasks."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from branches import BUG, GONE, Branches, Broken

from featherface.cli import main
from featherface_batch.errors import BatchError, SourceError, StorageError, WorkerError
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


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize(
    ("bad", "kind", "message"),
    [
        (GONE, SourceError, r"s3://bucket/7 cannot be read: NoSuchKey"),
        (BUG, WorkerError, r"listing branches failed: LookupError: nobody foresaw this\. Run the same"),
        (None, StorageError, r"_work/plan cannot be a folder: File exists"),
    ],
    ids=["source", "bug", "storage"],
)
def test_what_fails_in_a_task_that_lists_is_told_as_if_it_failed_here(
    tmp_path: Path, bad: int | None, kind: type[BatchError], message: str
) -> None:
    notes, storage = tmp_path / "notes", LocalStorage(tmp_path / "out")
    notes.mkdir()
    sizes = [1] * 20
    if bad is None:
        storage.write("_work/plan", b"")
    else:
        sizes[7] = bad
    planner = Planner(Broken(tuple(sizes), notes), Ledger(storage))
    assert planner.list_here() is None
    with pytest.raises(kind, match=message) as raised:
        planner.list_by_tasks()
    assert "\n" not in str(raised.value)


@pytest.mark.usefixtures("ray_cluster")
def test_an_inventory_that_lacks_a_file_is_a_source_that_cannot_be_listed(
    tmp_path: Path, s3: Any, s3_endpoint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    s3.create_bucket(Bucket="lacking")
    manifest = {
        "sourceBucket": "lacking",
        "destinationBucket": "arn:aws:s3:::lacking",
        "fileFormat": "CSV",
        "fileSchema": "Bucket, Key",
        "files": [{"key": f"data/{number}"} for number in range(20)],
    }
    s3.put_object(Bucket="lacking", Key="manifest.json", Body=json.dumps(manifest).encode())
    for number in range(19):
        s3.put_object(Bucket="lacking", Key=f"data/{number}", Body=f"lacking,{number}.jpg\n".encode())
    run = ["annotate", "s3://lacking/manifest.json", "--output", str(tmp_path / "out"), "--cpus", "2"]
    assert main([*run, "--endpoint-url", s3_endpoint]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("featherface: error: s3://lacking/data/19 cannot be read: ")
    assert said.endswith("[source]")
