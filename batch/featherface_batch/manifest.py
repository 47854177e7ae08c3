"""The manifest of a run: what made its results, and what making them took."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, Final

import onnxruntime

from featherface_batch.statistics import Statistics
from featherface_batch.work import Meter, Work

__all__ = ["MANIFEST_NAME", "make_manifest"]

MANIFEST_NAME: Final = "manifest.json"
_PACKAGES: Final = ("numpy", "pillow", "pyarrow", "ray")


def make_manifest(
    identity: Mapping[str, Any], formats: tuple[str, ...], statistics: Statistics, meter: Meter
) -> dict[str, Any]:
    """Return the manifest.

    Parameters
    ----------
    identity : mapping
        What the run is; see `featherface_batch.ledger.Ledger.open`.
    formats : tuple of str
    statistics : Statistics
    meter : Meter
        What this start and those before it did.
    """
    return {
        **identity,
        "finished_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "formats": ", ".join(formats),
        "counts": statistics.to_dict(),
        "throughput": _throughput(meter),
        "versions": {
            "python": platform.python_version(),
            # it comes as a package of another name for GPUs
            "onnxruntime": onnxruntime.__version__,
            **{name: version(name) for name in _PACKAGES},
        },
    }


def _throughput(meter: Meter) -> dict[str, Any]:
    """Return what the run took over all its starts, and what of it this one did."""
    starts, this = meter.starts, meter.work
    photos = sum(start.photos for start in starts)
    dollars = sum(start.dollars for start in starts)
    return {
        "starts": len(starts),
        **_sums(starts),
        "estimated_dollars_per_million_photos": round(1e6 * dollars / photos, 2) if photos else None,
        "this_start": {
            "workers": this.workers,
            "cpus": this.cpus,
            "gpus": this.gpus,
            **_sums([this]),
            "dollars_per_cpu_hour": meter.prices.cpu_hour,
            "dollars_per_gpu_hour": meter.prices.gpu_hour,
        },
    }


def _sums(starts: Sequence[Work]) -> dict[str, Any]:
    photos = sum(start.photos for start in starts)
    seconds = sum(start.seconds for start in starts)
    return {
        "photos": photos,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(sum(start.cpu_seconds for start in starts), 1),
        "gpu_seconds": round(sum(start.gpu_seconds for start in starts), 1),
        "photos_per_second": round(photos / seconds, 2) if photos else None,
        "estimated_dollars": round(sum(start.dollars for start in starts), 6),
    }
