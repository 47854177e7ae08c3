"""The workers of a run: how many of which kind, for the CPUs and GPUs that there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from featherface_batch.errors import UsageError

__all__ = ["Kind", "Limits", "Pool", "choose_pool"]

_WORKER_CPUS: Final = 4
_GPUS: Final = 0.25


@dataclass(frozen=True, slots=True)
class Kind:
    """Workers of one size.

    Parameters
    ----------
    cpus : int
        CPUs of a worker: threads that decode, and on CPU workers search too.
    gpus : float
        GPUs of a worker; fractions share one.
    most : int
        Workers that there may be: as many as there is room for, or will be once a cluster has grown.
    """

    cpus: int
    gpus: float = 0.0
    most: int = 1


@dataclass(frozen=True, slots=True)
class Limits:
    """What the user wants of the workers; what is None is chosen.

    Parameters
    ----------
    worker_cpus : int, optional
        CPUs of a worker.
    worker_gpus : float, optional
        GPUs of a GPU worker; 0 for no such workers.
    max_workers, max_gpu_workers : int, optional
        Bounds of a growing cluster: what it has room for now may be nothing.

    Raises
    ------
    UsageError
        There can be no such workers.
    """

    worker_cpus: int | None = None
    worker_gpus: float | None = None
    max_workers: int | None = None
    max_gpu_workers: int | None = None

    def __post_init__(self) -> None:
        for option, value, least in (
            ("--worker-cpus", self.worker_cpus, 1),
            ("--max-workers", self.max_workers, 0),
            ("--max-gpu-workers", self.max_gpu_workers, 0),
        ):
            if value is not None and value < least:
                raise UsageError(f"{option} must be at least {least}; got {value}")
        gpus = self.worker_gpus
        if gpus is not None and not (0 <= gpus <= 1 or (gpus.is_integer() and gpus > 1)):
            raise UsageError(f"--worker-gpus takes 0 to 1, or a whole number of GPUs; got {gpus:g}")


@dataclass(frozen=True, slots=True)
class Pool:
    """All workers of a run, which share its shards, each taking them as fast as it can.

    Parameters
    ----------
    kinds : tuple of Kind
        CPU workers, GPU workers, or both.
    """

    kinds: tuple[Kind, ...]


def choose_pool(nodes: Iterable[Mapping[str, Any]], limits: Limits, *, device: str, gpu_build: bool) -> Pool:
    """Divide the CPUs and GPUs of a cluster among workers.

    Parameters
    ----------
    nodes : iterable of mapping
        ``CPU`` and ``GPU`` of each node.
    limits : Limits
    device : str
        Of `featherface.Settings`: ``cpu`` allows no GPU workers, ``cuda`` and ``tensorrt`` no others.
    gpu_build : bool
        Whether this onnxruntime can use a GPU. If not, GPUs are left alone unless the user asked for them.

    Raises
    ------
    UsageError
        The limits contradict the device.
    """
    gpus = limits.worker_gpus
    if device == "cpu" and (gpus or limits.max_gpu_workers):
        raise UsageError("the device is cpu, but GPU workers are asked for: set it to auto or cuda")
    if device not in {"auto", "cpu"} and gpus == 0:
        raise UsageError(f"the device is {device}, but --worker-gpus 0 allows no GPU worker")
    if gpus is None:
        wanted = device != "cpu" and (gpu_build or device != "auto" or bool(limits.max_gpu_workers))
        gpus = _GPUS if wanted else 0.0
    found = [(int(node.get("CPU", 0)), float(node.get("GPU", 0))) for node in nodes]
    cpus = limits.worker_cpus or _WORKER_CPUS
    kinds = []
    if gpus:
        gpu_kind = _gpu_kind(found, gpus, limits)
        kinds.append(gpu_kind)
        found = [(_left(node, gpu_kind), 0.0) for node in found]
    if device in {"auto", "cpu"}:
        largest = max((node for node, _ in found), default=0)
        # A worker that no node has room for would never start.
        each = min(cpus, largest) if largest and limits.max_workers is None else cpus
        room = sum(node // each for node, _ in found)
        bound = room if limits.max_workers is None else limits.max_workers
        kinds.append(Kind(each, 0.0, bound))
    kinds = [kind for kind in kinds if kind.most] or [Kind(cpus, gpus if device != "auto" else 0.0)]
    return Pool(tuple(kinds))


def _gpu_kind(nodes: list[tuple[int, float]], gpus: float, limits: Limits) -> Kind:
    """Return GPU workers, which share their node's CPUs as they share its GPUs, to decode for them."""
    shares = [int(cpu * gpus / gpu) for cpu, gpu in nodes if gpu >= gpus]
    cpus = limits.worker_cpus or max(1, min(shares, default=_WORKER_CPUS))
    room = sum(min(int(gpu / gpus), cpu // cpus) for cpu, gpu in nodes)
    bound = room if limits.max_gpu_workers is None else limits.max_gpu_workers
    return Kind(cpus, gpus, bound)


def _left(node: tuple[int, float], kind: Kind) -> int:
    """Return the CPUs of a node that its GPU workers leave."""
    cpus, gpus = node
    return cpus - kind.cpus * min(int(gpus / kind.gpus), cpus // kind.cpus) if kind.most else cpus
