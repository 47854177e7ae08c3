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
# A worker of Ray may hang in its exit, and would stay when its raylet is killed.
WORKERS_GONE = """
import time
from pathlib import Path

raylets = {node.all_processes["raylet"][0].process.pid for node in cluster.list_all_nodes()}

def at_work(process):
    try:
        parent = int((process / "stat").read_text().rsplit(")", 1)[1].split()[1])
        return parent in raylets and "MapWorker" in (process / "cmdline").read_text()
    except OSError:
        return False

end = time.monotonic() + 20
while any(map(at_work, Path("/proc").glob("[0-9]*"))) and time.monotonic() < end:
    time.sleep(0.1)
for process in filter(at_work, Path("/proc").glob("[0-9]*")):
    os.kill(int(process.name), 9)
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
    print("interrupting", flush=True)
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

# whoever starts the tests in the background may have left it ignored
signal.signal(signal.SIGINT, signal.default_int_handler)
threading.Thread(target=interrupt, daemon=True).start()
try:
    annotate(job)
    print("not interrupted", flush=True)
except KeyboardInterrupt:
    import ray
    end = time.monotonic() + 8
    while not ray.is_initialized() and time.monotonic() < end:
        time.sleep(0.05)
    print("connected again" if ray.is_initialized() else "left alone", flush=True)
"""
SAID = ("interrupting", "not interrupted", "connected again", "left alone")
PHOTOS = 512


def test_cpu_and_gpu_workers_share_a_run_and_no_photo_is_done_twice(
    on_a_cluster: Callable[[str, int], Annotated],
) -> None:
    run = on_a_cluster(on_mixed_nodes("annotate(job)"), PHOTOS)
    assert {(device, float(gpus)) for device, gpus, _ in run.log} == {("cpu", 0.0), ("cuda", 0.5)}
    assert len({digest for *_, digest in run.log}) == len(run.log) == PHOTOS
    assert run.keys == [f"{number:03d}.jpg" for number in range(PHOTOS)]


LOSING = """
import sys, threading, time
from pathlib import Path
import ray
from ray.cluster_utils import Cluster
from featherface import Settings
from featherface_batch.job import JobConfig, annotate
from featherface_batch.pool import Limits
from finders import KindFinder

source, output = sys.argv[1:]
# The head works on nothing, and whatever wants no CPU could lie on any node.
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)
gpus = [cluster.add_node(num_cpus=1, num_gpus=1, object_store_memory=80 * 2**20) for _ in range(2)]
cluster.wait_for_nodes()

def results():
    return len(list(Path(output, "_work/results").rglob("*.jsonl")))

def end_a_node():
    while not results():
        time.sleep(0.05)
    (claims,) = [a for a in ray._private.state.actors().values() if a["ActorClassName"] == "Claims"]
    place = claims["Address"]["NodeID"]
    workers = [node for node in cluster.worker_nodes if node.node_id == place]
    print("whose a shard is, is told", "by a worker's node" if workers else "beside the driver", flush=True)
    cluster.remove_node((workers or gpus)[0], allow_graceful=False)
    print("one node is gone after", results(), "shards", flush=True)

killer = threading.Thread(target=end_a_node, daemon=True)
killer.start()
limits = Limits(worker_cpus=1, gpu_worker_cpus=1, worker_gpus=1, max_workers=1, max_gpu_workers=2)
annotate(JobConfig(
    source, output, Settings(input_size=320), address=cluster.address, workers=limits, load=KindFinder
))
killer.join()
"""
WAITING = """
import sys
from ray.cluster_utils import Cluster
from featherface import Settings
from featherface_batch.job import JobConfig, annotate
from featherface_batch.pool import Limits
from finders import KindFinder

source, output = sys.argv[1:]
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
annotate(JobConfig(
    source, output, Settings(input_size=320), address=cluster.address, workers=Limits(max_gpu_workers=1),
    load=KindFinder
))
"""


def test_a_gpu_s_node_dies_and_the_run_is_complete(on_a_cluster: Callable[[str, int], Annotated]) -> None:
    run = on_a_cluster(LOSING, 384)
    assert "told beside the driver" in run.stdout
    assert "one node is gone" in run.stdout
    assert {device for device, *_ in run.log} == {"cpu", "cuda"}
    assert run.keys == [f"{number:03d}.jpg" for number in range(384)]


def test_a_gpu_that_never_comes_holds_nothing_up(on_a_cluster: Callable[[str, int], Annotated]) -> None:
    run = on_a_cluster(WAITING, 40)
    assert {device for device, *_ in run.log} == {"cpu"}
    assert run.keys == [f"{number:03d}.jpg" for number in range(40)]


def test_a_run_that_is_interrupted_leaves_ray_alone(on_a_cluster: Callable[[str, int], Annotated]) -> None:
    """With RAY_ADDRESS, Ray has a place to go to by itself, which could be anyone's."""
    # beside what Ray prints of the tasks that were cut off
    lines = on_a_cluster(on_mixed_nodes(INTERRUPTED), PHOTOS).stdout.splitlines()
    assert [line for line in lines if line in SAID] == ["interrupting", "left alone"]


def on_mixed_nodes(job: str) -> str:
    """Return a script that makes the cluster and then runs a job in a process of its own, as users do."""
    return f"""{CLUSTER}
command = [sys.executable, "-c", {JOB + job!r}, *sys.argv[1:], cluster.address]
subprocess.run(command, env={{**os.environ, "RAY_ADDRESS": cluster.address}}, check=True)
{WORKERS_GONE}"""
