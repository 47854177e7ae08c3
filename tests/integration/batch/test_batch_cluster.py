"""A cluster of several raylets on this machine, one of which dies."""

import json
import os
import subprocess
import sys
from pathlib import Path

from conftest import jpeg

# In a process of its own: the tests' shared Ray is another one.
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


def test_a_node_dies_and_the_run_is_complete(tmp_path: Path) -> None:
    photos, output = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for number in range(PHOTOS):
        (photos / f"{number:03d}.jpg").write_bytes(jpeg(number, 48, 48))
    environment = {
        **os.environ,
        "FINDER_LOG": str(tmp_path / "log"),
        "RAY_memory_monitor_refresh_ms": "0",
        # this cluster is made by hand, without the token of the tests' embedded Ray
        "RAY_AUTH_MODE": "disabled",
    }
    command = [sys.executable, "-c", SCRIPT, str(photos), str(output)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert "one node is gone" in ended.stdout
    pids = {line.split()[0] for line in (tmp_path / "log").read_text().splitlines()}
    assert len(pids) > 1
    rows = [json.loads(line)["key"] for line in (output / "annotations.jsonl").read_text().splitlines()]
    assert rows == sorted(path.name for path in photos.iterdir())
    assert (output / "errors.jsonl").read_text() == ""
    assert (output / "_SUCCESS").exists()
