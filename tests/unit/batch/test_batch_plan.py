import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from featherface_batch.plan import PART_PHOTOS, Part, Plan, plan_photos, read_part, shard_sizes
from featherface_batch.records import Photo
from featherface_batch.storage import LocalStorage


class CountedSource:
    """A source that has as many photos as asked for and keeps none of them."""

    name = "counted"

    def __init__(self, count: int) -> None:
        self.count = count

    def partitions(self) -> list[str]:
        return [""]

    def photos(self, partition: str) -> Iterator[Photo]:
        for number in range(self.count):
            yield Photo(f"{number:09d}.jpg", f"s3://bucket/{number:09d}.jpg", 1000)


@pytest.mark.parametrize("count", [1, 31, 32, 33, 1024, 5000])
def test_every_photo_is_in_exactly_one_shard_in_order(tmp_path: Path, count: int) -> None:
    storage = LocalStorage(tmp_path)
    parts = plan_photos(CountedSource(count).photos(""), 3, storage)
    shards = [shard for part in parts for shard in read_part(part.name, storage)]
    assert [photo for shard in shards for photo in shard.photos] == list(CountedSource(count).photos(""))
    assert Plan(tuple(parts)).photos == count
    assert Plan(tuple(parts)).shards == len(shards)
    assert len({(shard.part, shard.number) for shard in shards}) == len(shards)


def test_an_empty_partition_has_no_part(tmp_path: Path) -> None:
    assert plan_photos(CountedSource(0).photos(""), 0, LocalStorage(tmp_path)) == []


def test_a_size_that_the_listing_does_not_know_stays_unknown(tmp_path: Path) -> None:
    class Unknown(CountedSource):
        def photos(self, partition: str) -> Iterator[Photo]:
            yield Photo("a", "/a")
            yield Photo("b", "/b", 5)

    storage = LocalStorage(tmp_path)
    (part,) = plan_photos(Unknown(2).photos(""), 0, storage)
    (shard,) = read_part(part.name, storage)
    assert [photo.size for photo in shard.photos] == [None, 5]


def test_shards_grow_from_small_to_a_bound() -> None:
    sizes = shard_sizes(PART_PHOTOS, 0, ending=False)
    assert sum(sizes) == PART_PHOTOS
    assert sizes[:-1] == sorted(sizes[:-1])
    assert (sizes[0], max(sizes)) == (32, 1024)


def test_the_last_shards_of_a_partition_are_small_again() -> None:
    sizes = shard_sizes(60_000, 1000, ending=True)
    assert sum(sizes) == 60_000
    assert sizes == sorted(sizes, reverse=True)
    assert (sizes[0], sizes[-2]) == (1024, 32)
    # few small files are the price
    assert len(sizes) < 2 * 60_000 / 1024 + 32


def test_memory_does_not_grow_with_the_number_of_photos(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        tracemalloc.start()
        parts = plan_photos(CountedSource(count).photos(""), 0, LocalStorage(tmp_path / str(count)))
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert sum(part.photos for part in parts) == count
        return highest

    # What is imported and cached once is not to be counted.
    peak(PART_PHOTOS)
    # Both are longer than a part, so both have held one whole.
    assert peak(4 * PART_PHOTOS) < 1.5 * peak(2 * PART_PHOTOS)


def test_the_contents_survive_json() -> None:
    plan = Plan((Part("00000-00000", 5, 1), Part("00000-00001", 7, 2)))
    assert Plan.from_dict(plan.to_dict()) == plan
    assert (plan.photos, plan.shards) == (12, 3)
