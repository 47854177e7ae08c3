"""CPU and GPU workers in one run, on raylets of this machine of which one says that it has a GPU."""

from collections.abc import Callable

from conftest import Annotated

CLUSTER = """
import os, subprocess, sys
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
cluster.add_node(num_cpus=2, object_store_memory=80 * 2**20)
# No GPU is needed to say that there is one: whoever asks for it is scheduled there.
cluster.add_node(num_cpus=2, num_gpus=1, object_store_memory=80 * 2**20)
cluster.wait_for_nodes()
"""
JOB = """
import sys
from featherface import Settings
from featherface_batch.job import JobConfig, annotate
from featherface_batch.pool import Limits
from finders import KindFinder

source, output, address = sys.argv[1:]
limits = Limits(worker_cpus=1, worker_gpus=0.5, max_workers=2, max_gpu_workers=2)
job = JobConfig(source, output, Settings(input_size=320), address=address, workers=limits, load=KindFinder)
"""
INTERRUPTED = """
import os, signal, threading, time
from pathlib import Path

def interrupt():
    while not list(Path(output, "_work/results").rglob("*.jsonl")):
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt, daemon=True).start()
try:
    annotate(job)
except KeyboardInterrupt:
    import ray
    end = time.monotonic() + 8
    while not ray.is_initialized() and time.monotonic() < end:
        time.sleep(0.05)
    print("connected again" if ray.is_initialized() else "left alone", flush=True)
"""
PHOTOS = 512


def test_cpu_and_gpu_workers_share_a_run_and_no_photo_is_done_twice(
    on_a_cluster: Callable[[str, int], Annotated],
) -> None:
    run = on_a_cluster(on_mixed_nodes("annotate(job)"), PHOTOS)
    assert {(device, float(gpus)) for device, gpus, _ in run.log} == {("cpu", 0.0), ("cuda", 0.5)}
    assert len({digest for *_, digest in run.log}) == len(run.log) == PHOTOS
    assert run.keys == [f"{number:03d}.jpg" for number in range(PHOTOS)]


def test_a_run_that_is_interrupted_leaves_ray_alone(on_a_cluster: Callable[[str, int], Annotated]) -> None:
    """With RAY_ADDRESS, Ray has a place to go to by itself, which could be anyone's."""
    assert on_a_cluster(on_mixed_nodes(INTERRUPTED), PHOTOS).stdout.split("\n")[-2] == "left alone"


def on_mixed_nodes(job: str) -> str:
    """Return a script that makes the cluster and then runs a job in a process of its own, as users do."""
    return f"""{CLUSTER}
command = [sys.executable, "-c", {JOB + job!r}, *sys.argv[1:], cluster.address]
subprocess.run(command, env={{**os.environ, "RAY_ADDRESS": cluster.address}}, check=True)
"""
