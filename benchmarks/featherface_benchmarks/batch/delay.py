"""Whether the job keeps the network full: its rate over S3 with and without a delay on each request."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path

__all__ = ["compare_delays"]


def compare_delays(
    photos: Sequence[Path], *, count: int, cpus: int, rounds: int, milliseconds: float
) -> Iterator[tuple[float, float]]:
    """Annotate the same bucket by turns through a plain and a slower wire; yields photos per second of both.

    The server is SeaweedFS, in processes of its own that use the same CPUs; both wires are the same proxy.

    Parameters
    ----------
    photos : sequence of Path
        Used again and again if there are fewer than `count`.
    count : int
        Photos in the bucket.
    cpus : int
        Of the job.
    rounds : int
        How often each of both is measured.
    milliseconds : float
        What a request takes longer.
    """
    import boto3
    from examples.demo.servers import CREDENTIALS, seaweedfs

    from featherface_benchmarks.batch.delay_line import delayed

    os.environ.update(CREDENTIALS, AWS_DEFAULT_REGION=CREDENTIALS["AWS_REGION"])
    with seaweedfs() as server, delayed(server, 0.0) as near, delayed(server, milliseconds / 1000) as far:
        s3 = boto3.client("s3", endpoint_url=server)
        s3.create_bucket(Bucket="photos")
        for number, photo in enumerate(islice(cycle(photos), count)):
            s3.put_object(Bucket="photos", Key=f"{number:07d}{photo.suffix}", Body=photo.read_bytes())
        for _ in range(rounds):
            yield _rate(near, cpus), _rate(far, cpus)


def _rate(endpoint: str, cpus: int) -> float:
    """Annotate the bucket in a process of its own; the rate begins with the first finished shard."""
    with tempfile.TemporaryDirectory() as output:
        command = [sys.executable, "-m", "featherface_benchmarks.batch.delay", endpoint, output, str(cpus)]
        answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return float(json.loads(answer.splitlines()[-1]))


def _annotate(endpoint: str, output: Path, cpus: int) -> float:
    from featherface import Settings
    from featherface_batch.job import JobConfig, annotate
    from featherface_batch.s3 import S3Options

    config = JobConfig(
        "s3://photos",
        str(output),
        Settings(threads=1),
        formats=("jsonl",),
        s3=S3Options(endpoint_url=endpoint),
        cpus=cpus,
    )
    annotate(config)
    finished = sorted(
        (path.stat().st_mtime, int(path.name.split(".")[1].split("-")[0]))
        for path in (output / "_work" / "results").rglob("*.jsonl")
    )
    return sum(photos for _, photos in finished[1:]) / (finished[-1][0] - finished[0][0])


if __name__ == "__main__":
    print(json.dumps(_annotate(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))))
