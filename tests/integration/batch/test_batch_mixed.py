"""CPU and GPU workers in one run, on raylets of this machine of which one says that it has a GPU."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from conftest import jpeg

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


def test_cpu_and_gpu_workers_share_a_run_and_no_photo_is_done_twice(tmp_path: Path) -> None:
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
    lines = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    kinds = Counter((device, float(gpus)) for device, gpus, _ in lines)
    assert set(kinds) == {("cpu", 0.0), ("cuda", 0.5)}
    assert len({digest for *_, digest in lines}) == len(lines) == PHOTOS
    rows = [json.loads(line)["key"] for line in (output / "annotations.jsonl").read_text().splitlines()]
    assert rows == sorted(path.name for path in photos.iterdir())
