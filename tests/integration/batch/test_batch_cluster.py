"""A cluster of several raylets on this machine, one of which dies; and addresses where there is none."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import COMMAND, Annotated, jpeg

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


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1:1", "nothing answers at 127.0.0.1:1"),
        ("ray://[::1]:1", "nothing answers at ray://[::1]:1"),
        # longer than a name may be
        (f"{'x' * 70}:6379", "nothing answers at xxx"),
        ("127.0.0.1:99999", "nothing answers at 127.0.0.1:99999"),
        ("the head", "Ray found no cluster at the head: "),
    ],
)
def test_where_no_cluster_is_the_command_says_so_at_once(tmp_path: Path, address: str, reason: str) -> None:
    assert f"featherface: error: {reason}" in _refused(tmp_path, address)


def test_where_auto_leads_to_no_cluster_the_command_says_who_sent_it_there(tmp_path: Path) -> None:
    """What a cluster that was killed has left behind, and a variable that stayed set."""
    left = tmp_path / "ray" / "ray_current_cluster"
    left.parent.mkdir()
    left.write_text("127.0.0.1:1\n")
    said = _refused(tmp_path, "auto", RAY_TMPDIR=str(tmp_path), RAY_ADDRESS="")
    assert f"nothing answers at 127.0.0.1:1, where {left} says a cluster was started" in said
    assert "`ray stop`" in said
    said = _refused(tmp_path, "auto", RAY_TMPDIR=str(tmp_path), RAY_ADDRESS="127.0.0.1:2")
    assert "nothing answers at 127.0.0.1:2, which RAY_ADDRESS names" in said


def _refused(folder: Path, address: str, **environment: str) -> str:
    """Run the command on one photo and a cluster that is not there, and return what it says."""
    (folder / "photos").mkdir(exist_ok=True)
    (folder / "photos" / "1.jpg").write_bytes(jpeg(1))
    # left to itself, Ray tries for minutes
    run = subprocess.run(
        [COMMAND, "annotate", "photos", "--output", "faces", "--address", address],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 1
    assert run.stderr.endswith("[cluster]\n")
    assert "Traceback" not in run.stderr
    return run.stderr


def test_a_ray_that_does_not_start_is_an_error_of_ours() -> None:
    script = """
from featherface_batch.cluster import ray_session
from featherface_batch.errors import ClusterError
try:
    with ray_session(None, cpus=-1):
        raise SystemExit("it started")
except ClusterError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert run.stdout.startswith("Ray did not start on this machine: "), run.stderr
    assert "may do later" in run.stdout
