"""A cluster of several raylets on this machine, one of which dies."""

from collections.abc import Callable

from conftest import Annotated

SCRIPT = """
import os, sys, threading, time
from pathlib import Path
from ray.cluster_utils import Cluster
from featherface import Settings
from featherface_batch.job import JobConfig, annotate
from featherface_batch.pool import Limits
from finders import RecordingFinder

source, output = sys.argv[1:]
# The head works on nothing, so that the one that dies is a worker's.
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
nodes = [cluster.add_node(num_cpus=2, object_store_memory=80 * 2**20) for _ in range(2)]
cluster.wait_for_nodes()

def results():
    return len(list(Path(output, "_work/results").rglob("*.jsonl")))

def at_work():
    log = Path(os.environ["FINDER_LOG"])
    pids = [line.split()[0] for line in log.read_text().splitlines()] if log.exists() else []
    # a worker is its raylet's child
    parents = {int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1]) for pid in set(pids)}
    return [n for n in nodes if n.all_processes["raylet"][0].process.pid in parents]

def end_a_node():
    while not results():
        time.sleep(0.05)
    victim = at_work()[0]
    cluster.remove_node(victim, allow_graceful=False)
    print("one node is gone after", results(), "shards", flush=True)

killer = threading.Thread(target=end_a_node, daemon=True)
killer.start()
config = JobConfig(
    source, output, Settings(input_size=320), address=cluster.address, workers=Limits(worker_cpus=1),
    load=RecordingFinder
)
print(annotate(config), flush=True)
killer.join()
"""
PHOTOS = 256


def test_a_node_dies_and_the_run_is_complete(on_a_cluster: Callable[[str, int], Annotated]) -> None:
    run = on_a_cluster(SCRIPT, PHOTOS)
    assert "one node is gone" in run.stdout
    assert len({process for process, *_ in run.log}) > 1
    assert run.keys == [f"{number:03d}.jpg" for number in range(PHOTOS)]
    assert (run.output / "errors.jsonl").read_text() == ""
    assert (run.output / "_SUCCESS").exists()
