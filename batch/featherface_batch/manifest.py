"""The manifest of a run: what made its results, and what making them took."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

import onnxruntime

from featherface_batch.statistics import Statistics
from featherface_batch.storage import Storage

__all__ = ["MANIFEST_NAME", "Work", "make_manifest"]

MANIFEST_NAME: Final = "manifest.json"
_PACKAGES: Final = ("numpy", "pillow", "pyarrow", "ray")


@dataclass(frozen=True, slots=True)
class Work:
    """What one start of a run did.

    Parameters
    ----------
    photos : int
        Annotated by it.
    seconds : float
        Of annotating.
    cpus : int
    gpus : float
        Of all workers together.
    dollars_per_cpu_hour, dollars_per_gpu_hour : float
        For the estimate of the cost.
    """

    photos: int
    seconds: float
    cpus: int
    gpus: float
    dollars_per_cpu_hour: float
    dollars_per_gpu_hour: float


def make_manifest(
    identity: Mapping[str, Any],
    formats: tuple[str, ...],
    statistics: Statistics,
    work: Work,
    storage: Storage,
) -> dict[str, Any]:
    """Return the manifest.

    Parameters
    ----------
    identity : mapping
        What the run is; see `featherface_batch.ledger.Ledger.open`.
    formats : tuple of str
    statistics : Statistics
    work : Work
    storage : Storage
        Its older manifest says how fast the run was if this start had nothing to annotate.
    """
    return {
        **identity,
        "finished_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "formats": ", ".join(formats),
        "counts": statistics.to_dict(),
        "throughput": _throughput(work) if work.photos else _earlier(storage),
        "versions": {
            "python": platform.python_version(),
            # it comes as a package of another name for GPUs
            "onnxruntime": onnxruntime.__version__,
            **{name: version(name) for name in _PACKAGES},
        },
    }


def _throughput(work: Work) -> dict[str, Any]:
    hourly = work.cpus * work.dollars_per_cpu_hour + work.gpus * work.dollars_per_gpu_hour
    dollars = work.seconds / 3600 * hourly
    return {
        "photos": work.photos,
        "seconds": round(work.seconds, 1),
        "cpus": work.cpus,
        "gpus": work.gpus,
        "photos_per_second": round(work.photos / work.seconds, 2),
        "estimated_dollars": round(dollars, 6),
        "estimated_dollars_per_million_photos": round(1e6 * dollars / work.photos, 2),
        "dollars_per_cpu_hour": work.dollars_per_cpu_hour,
        "dollars_per_gpu_hour": work.dollars_per_gpu_hour,
    }


def _earlier(storage: Storage) -> dict[str, Any]:
    try:
        throughput: dict[str, Any] = json.loads(storage.read(MANIFEST_NAME))["throughput"]
    except FileNotFoundError:
        return {"photos_per_second": None}
    return throughput
