"""CPU and GPU workers in one run, on raylets of this machine of which one says that it has a GPU."""

from collections.abc import Callable

from conftest import Annotated

SCRIPT = """
import sys
from ray.cluster_utils import Cluster
from featherface import Settings
from featherface_batch.job import JobConfig, annotate
from featherface_batch.pool import Limits
from finders import KindFinder

source, output = sys.argv[1:]
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
cluster.add_node(num_cpus=2, object_store_memory=80 * 2**20)
# No GPU is needed to say that there is one: whoever asks for it is scheduled there.
cluster.add_node(num_cpus=2, num_gpus=1, object_store_memory=80 * 2**20)
cluster.wait_for_nodes()
limits = Limits(worker_cpus=1, worker_gpus=0.5, max_workers=2, max_gpu_workers=2)
annotate(JobConfig(
    source, output, Settings(input_size=320), address=cluster.address, workers=limits, load=KindFinder
))
"""
PHOTOS = 512


def test_cpu_and_gpu_workers_share_a_run_and_no_photo_is_done_twice(
    on_a_cluster: Callable[[str, int], Annotated],
) -> None:
    run = on_a_cluster(SCRIPT, PHOTOS)
    assert {(device, float(gpus)) for device, gpus, _ in run.log} == {("cpu", 0.0), ("cuda", 0.5)}
    assert len({digest for *_, digest in run.log}) == len(run.log) == PHOTOS
    assert run.keys == [f"{number:03d}.jpg" for number in range(PHOTOS)]
