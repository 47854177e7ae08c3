"""Servers on loopback: SeaweedFS for objects, moto for what SeaweedFS has not (events, queues, tables)."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from examples.demo.ports import reserved_port

__all__ = ["CREDENTIALS", "moto", "seaweedfs"]

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "demo", "AWS_SECRET_ACCESS_KEY": "demo-secret", "AWS_REGION": "us-east-1"}
_START_SECONDS = 60.0


def _reserved_ports(count: int) -> list[int]:
    """Return ports for a server; SeaweedFS also takes each port plus 10,000 for its own use."""
    ports: list[int] = []
    while len(ports) < count:
        port = reserved_port()
        if port > 50_000:
            continue
        with contextlib.suppress(OSError):
            reserved_port(port + 10_000)
            ports.append(port)
    return ports


@contextlib.contextmanager
def _running(command: list[str], log: Path, environ: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environ)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(process: subprocess.Popen[bytes], log: Path, ready: Any, what: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        if process.poll() is not None:
            raise RuntimeError(f"{what} ended at once; its last words: {log.read_text()[-600:]}")
        try:
            ready()
        except Exception as error:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{what} did not answer within {_START_SECONDS:.0f} s: {error}") from error
            time.sleep(0.1)
        else:
            return


@contextlib.contextmanager
def seaweedfs() -> Iterator[str]:
    """Run a SeaweedFS with its S3 gateway, and give its endpoint URL.

    Raises
    ------
    RuntimeError
        If it does not start.
    """
    import boto3
    from botocore.config import Config

    with tempfile.TemporaryDirectory(prefix="featherface-demo-", ignore_cleanup_errors=True) as folder:
        s3, filer, master, volume = _reserved_ports(4)
        identities = Path(folder, "s3.json")
        key = {
            "accessKey": CREDENTIALS["AWS_ACCESS_KEY_ID"],
            "secretKey": CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        }
        identities.write_text(
            json.dumps({"identities": [{"name": "demo", "credentials": [key], "actions": ["Admin"]}]})
        )
        data = Path(folder, "data")
        data.mkdir()
        log = Path(folder, "weed.log")
        command = [
            str(Path(sys.executable).parent / "weed"),
            "server",
            f"-dir={data}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            f"-master.port={master}",
            f"-volume.port={volume}",
            "-filer",
            f"-filer.port={filer}",
            "-s3",
            f"-s3.port={s3}",
            # of table formats, at fixed ports that another may have: two runs on a machine would collide
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            f"-s3.config={identities}",
            "-volume.max=300",
            "-master.volumeSizeLimitMB=64",
        ]
        url = f"http://127.0.0.1:{s3}"
        once = Config(connect_timeout=1, read_timeout=2, retries={"max_attempts": 1})
        client = boto3.client(
            "s3",
            endpoint_url=url,
            region_name=CREDENTIALS["AWS_REGION"],
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            config=once,
        )

        def ready() -> None:
            client.list_buckets()
            with contextlib.suppress(
                client.exceptions.BucketAlreadyExists, client.exceptions.BucketAlreadyOwnedByYou
            ):
                client.create_bucket(Bucket="is-ready")
            # the gateway answers before there is a volume to write to
            client.put_object(Bucket="is-ready", Key="ready", Body=b"ready")
            client.delete_object(Bucket="is-ready", Key="ready")
            client.delete_bucket(Bucket="is-ready")

        with _running(command, log, dict(os.environ)) as process:
            _wait(process, log, ready, "SeaweedFS")
            yield url


@contextlib.contextmanager
def moto() -> Iterator[str]:
    """Run a moto server, and give its endpoint URL.

    Raises
    ------
    RuntimeError
        If it does not start.
    """
    port = reserved_port()
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory(prefix="featherface-demo-") as folder:
        log = Path(folder, "moto.log")
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        environ = {**os.environ, **CREDENTIALS}
        with _running(command, log, environ) as process:
            _wait(process, log, lambda: urllib.request.urlopen(f"{url}/moto-api/", timeout=1).close(), "moto")
            yield url
