"""How much memory and time planning takes for a manifest of many rows."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

__all__ = ["measure_planning"]


def measure_planning(rows: int) -> dict[str, float]:
    """Plan a made manifest in a process of its own.

    Parameters
    ----------
    rows : int
        Photos that the manifest names.

    Returns
    -------
    dict
        ``seconds``, ``peak_mib`` of the process, ``plan_mib`` on disk, ``parts``, ``shards``.
    """
    with tempfile.TemporaryDirectory() as folder:
        manifest = Path(folder, "photos.csv")
        with manifest.open("w", encoding="utf-8") as file:
            file.write("location,size\n")
            file.writelines(
                f"s3://photos/2026/{number % 365:03d}/camera-{number % 97:02d}/{number:09d}.jpg,150000\n"
                for number in range(rows)
            )
        command = [sys.executable, "-m", "featherface_benchmarks.batch.planning", str(manifest)]
        answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, float] = json.loads(answer)
    return found


def _plan(manifest: Path) -> dict[str, float]:
    from featherface_batch.plan import plan_photos
    from featherface_batch.s3 import S3Options
    from featherface_batch.sources import open_source
    from featherface_batch.storage import open_storage

    options = S3Options()
    source = open_source(str(manifest), options)
    output = manifest.parent / "run"
    started = time.monotonic()
    parts = plan_photos(source.photos(source.partitions()[0]), 0, open_storage(str(output), options))
    return {
        "seconds": time.monotonic() - started,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "plan_mib": sum(path.stat().st_size for path in output.rglob("*") if path.is_file()) / 1024**2,
        "parts": len(parts),
        "shards": sum(part.shards for part in parts),
    }


if __name__ == "__main__":
    print(json.dumps(_plan(Path(sys.argv[1]))))
