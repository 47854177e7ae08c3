import threading
from collections.abc import Iterator

import pytest

from featherface import Settings
from featherface_batch.claims import Claims, merged
from featherface_batch.errors import UsageError
from featherface_batch.pool import Kind, Limits, choose_pool, without_room
from featherface_batch.s3 import S3Options
from featherface_batch.worker import WorkerConfig

CPU_NODE = {"CPU": 8.0}
GPU_NODE = {"CPU": 4.0, "GPU": 1.0}


@pytest.mark.parametrize(
    ("nodes", "limits", "gpu_build", "kinds"),
    [
        ([CPU_NODE], Limits(), False, [Kind(4, 0, 2)]),
        ([{"CPU": 2}], Limits(), False, [Kind(2, 0, 1)]),
        # a worker does not span nodes
        ([{"CPU": 6}, {"CPU": 6}], Limits(), False, [Kind(4, 0, 2)]),
        ([CPU_NODE], Limits(worker_cpus=2, max_workers=64), False, [Kind(2, 0, 64)]),
        # a cluster that has not grown yet
        ([{"CPU": 0}], Limits(worker_cpus=8, max_workers=64), False, [Kind(8, 0, 64)]),
        # a GPU that this onnxruntime cannot use is left alone, its node's CPUs are not
        ([CPU_NODE, GPU_NODE], Limits(), False, [Kind(4, 0, 3)]),
        # both: the GPU's node decodes for it
        ([CPU_NODE, GPU_NODE], Limits(), True, [Kind(1, 0.25, 4), Kind(4, 0, 2)]),
        ([CPU_NODE, GPU_NODE], Limits(worker_gpus=0.5), False, [Kind(2, 0.5, 2), Kind(4, 0, 2)]),
        ([CPU_NODE, GPU_NODE], Limits(worker_gpus=0), True, [Kind(4, 0, 3)]),
        ([GPU_NODE], Limits(), True, [Kind(1, 0.25, 4)]),
        ([], Limits(max_workers=0, max_gpu_workers=8), True, [Kind(4, 0.25, 8)]),
        # the size of CPU workers is none of the GPU workers' business
        (
            [{"CPU": 0}, CPU_NODE, GPU_NODE],
            Limits(worker_cpus=8, max_workers=64, max_gpu_workers=8),
            True,
            [Kind(1, 0.25, 8), Kind(8, 0, 64)],
        ),
        ([GPU_NODE], Limits(gpu_worker_cpus=2, worker_gpus=0.5), True, [Kind(2, 0.5, 2)]),
        # whoever says how many, but not how large
        ([{"CPU": 2}], Limits(max_workers=5), False, [Kind(2, 0, 5)]),
        # a cluster without a node, yet
        ([], Limits(), False, [Kind(4, 0, 1)]),
        ([], Limits(max_gpu_workers=0), True, [Kind(4, 0, 1)]),
    ],
)
def test_workers_fit_the_nodes(
    nodes: list[dict[str, float]], limits: Limits, gpu_build: bool, kinds: list[Kind]
) -> None:
    assert list(choose_pool(nodes, limits, device="auto", gpu_build=gpu_build)) == kinds


def test_a_device_that_is_required_allows_no_other_workers() -> None:
    assert choose_pool([CPU_NODE, GPU_NODE], Limits(), device="cuda", gpu_build=True) == (Kind(1, 0.25, 4),)
    with pytest.raises(UsageError, match="device is cpu"):
        choose_pool([GPU_NODE], Limits(worker_gpus=0.5), device="cpu", gpu_build=True)
    with pytest.raises(UsageError, match="allows no GPU worker"):
        choose_pool([GPU_NODE], Limits(worker_gpus=0), device="cuda", gpu_build=True)


@pytest.mark.parametrize(
    ("limits", "kinds"),
    [
        (Limits(max_workers=1), [Kind(2, 0, 1)]),
        (Limits(max_workers=64), [Kind(2, 0, 1)]),
        (Limits(max_workers=64, worker_cpus=1), [Kind(1, 0, 2)]),
        (Limits(max_workers=64, worker_cpus=8), [Kind(2, 0, 1)]),
    ],
)
def test_where_no_node_will_come_every_worker_has_room(limits: Limits, kinds: list[Kind]) -> None:
    pool = choose_pool([{"CPU": 2}], limits, device="auto", gpu_build=True, grows=False)
    assert list(pool) == kinds
    assert without_room(pool, [{"CPU": 2}]) == []


@pytest.mark.parametrize(
    ("limits", "device", "reason"),
    [
        (Limits(), "cuda", "0 GPU"),
        (Limits(max_gpu_workers=1), "auto", "0 GPU"),
        (Limits(worker_gpus=0.5), "auto", "0 GPU"),
        (Limits(max_workers=0), "auto", "no worker is left"),
    ],
)
def test_workers_that_could_never_start_are_a_usage_error(limits: Limits, device: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        choose_pool([{"CPU": 2}], limits, device=device, gpu_build=False, grows=False)


def test_what_has_no_room_yet_is_told() -> None:
    pool = choose_pool([{"CPU": 0}, {"CPU": 4}], Limits(8, max_workers=2), device="cpu", gpu_build=False)
    assert without_room(pool, [{"CPU": 0}, {"CPU": 4}]) == [Kind(8, 0, 2)]
    assert without_room(pool, [{"CPU": 8}]) == []


def test_a_worker_computes_on_what_ray_has_given_to_it() -> None:
    config = WorkerConfig(Settings(), S3Options())
    assert config.on(Kind(4)).settings.device == "cpu"
    gpu = config.on(Kind(4, 0.5))
    assert gpu.settings.device == "cuda"
    assert gpu.fetchers == gpu.s3.connections > config.on(Kind(4)).fetchers


def test_a_shard_belongs_to_the_side_that_asks_first() -> None:
    claims = Claims()
    assert claims.claim("a", 3, 0)
    assert not claims.claim("a", 3, 1)
    assert claims.claim("a", 4, 1)
    assert claims.claim("b", 3, 1)
    # the worker that takes over from a dead one
    assert claims.claim("a", 3, 0)


def test_streams_become_one() -> None:
    assert list(merged([lambda: iter("abc")])) == ["a", "b", "c"]
    assert sorted(merged([lambda: range(100), lambda: range(100, 150)])) == list(range(150))


def test_a_stream_that_never_ends_is_waited_for_only_as_long_as_told() -> None:
    silent, taken = threading.Event(), 0

    def waiting() -> Iterator[int]:
        silent.wait()
        yield from ()

    def patience() -> float | None:
        return None if taken < 3 else 0.1

    for _ in merged([lambda: iter(range(3)), waiting], patience):
        taken += 1
    silent.set()
    assert taken == 3


def test_an_error_of_one_stream_ends_all() -> None:
    gone = threading.Event()

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            gone.set()

    def broken() -> Iterator[int]:
        yield 2
        raise RuntimeError("this side failed")

    with pytest.raises(RuntimeError, match="this side failed"):
        list(merged([endless, broken]))
    assert gone.wait(10)
