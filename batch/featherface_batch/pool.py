"""The workers of a run: how many of which kind, for the CPUs and GPUs that there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from featherface_batch.errors import UsageError

__all__ = ["Kind", "Limits", "choose_pool", "without_room"]

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
    worker_cpus, gpu_worker_cpus : int, optional
        CPUs of a CPU worker and of a GPU worker.
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
    gpu_worker_cpus: int | None = None

    def __post_init__(self) -> None:
        for option, value, least in (
            ("--worker-cpus", self.worker_cpus, 1),
            ("--gpu-worker-cpus", self.gpu_worker_cpus, 1),
            ("--max-workers", self.max_workers, 0),
            ("--max-gpu-workers", self.max_gpu_workers, 0),
        ):
            if value is not None and value < least:
                raise UsageError(f"{option} must be at least {least}; got {value}")
        gpus = self.worker_gpus
        if gpus is not None and not (0 <= gpus <= 1 or (gpus.is_integer() and gpus > 1)):
            raise UsageError(f"--worker-gpus takes 0 to 1, or a whole number of GPUs; got {gpus:g}")


def choose_pool(
    nodes: Iterable[Mapping[str, Any]], limits: Limits, *, device: str, gpu_build: bool, grows: bool = True
) -> tuple[Kind, ...]:
    """Divide the CPUs and GPUs of a cluster among workers.

    They share the run's shards, each taking them as fast as it can.

    Parameters
    ----------
    nodes : iterable of mapping
        ``CPU`` and ``GPU`` of each node.
    limits : Limits
    device : str
        Of `featherface.Settings`: ``cpu`` allows no GPU workers, ``cuda`` and ``tensorrt`` no others.
    gpu_build : bool
        Whether this onnxruntime can use a GPU. If not, GPUs are left alone unless the user asked for them.
    grows : bool
        Whether there may be more nodes later: workers that have no room now are waited for.

    Returns
    -------
    tuple of Kind
        GPU workers, CPU workers, or both in this order.

    Raises
    ------
    UsageError
        The limits contradict the device, or leave no worker that could ever start.
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
    kinds = []
    if gpus:
        gpu_kind, room = _gpu_kind(found, gpus, limits)
        if not (grows or room) and (device != "auto" or limits.worker_gpus or limits.max_gpu_workers):
            raise UsageError(
                f"a GPU worker takes {gpu_kind.cpus} CPU(s) and {gpus:g} GPU(s), and Ray finds "
                f"{sum(gpu for _, gpu in found):g} GPU(s) here: set the device to cpu or auto, ask for no "
                "GPU workers, or name a cluster by --address"
            )
        kinds.append(gpu_kind if grows else replace(gpu_kind, most=min(gpu_kind.most, room)))
        found = [(_left(node, gpu_kind), 0.0) for node in found]
    if device in {"auto", "cpu"}:
        cpu_kind, room = _cpu_kind([node for node, _ in found], limits, grows=grows)
        kinds.append(cpu_kind if grows else replace(cpu_kind, most=min(cpu_kind.most, room)))
    return tuple(kind for kind in kinds if kind.most) or (_awaited(kinds, limits),)


def without_room(kinds: Iterable[Kind], nodes: Iterable[Mapping[str, Any]]) -> list[Kind]:
    """Return the kinds of which no node could hold a single worker, were it free.

    Parameters
    ----------
    kinds : iterable of Kind
    nodes : iterable of mapping
        As for `choose_pool`.
    """
    found = [(float(node.get("CPU", 0)), float(node.get("GPU", 0))) for node in nodes]
    return [kind for kind in kinds if not any(cpu >= kind.cpus and gpu >= kind.gpus for cpu, gpu in found)]


def _cpu_kind(nodes: list[int], limits: Limits, *, grows: bool) -> tuple[Kind, int]:
    """Return CPU workers, and for how many of them there is room."""
    largest = max(nodes, default=0)
    cpus = limits.worker_cpus or _WORKER_CPUS
    # A worker that no node has room for would never start; what was asked for may fit the nodes to come.
    if largest and not (grows and limits.worker_cpus and limits.max_workers is not None):
        cpus = min(cpus, largest)
    room = sum(node // cpus for node in nodes)
    return Kind(cpus, 0.0, room if limits.max_workers is None else limits.max_workers), room


def _gpu_kind(nodes: list[tuple[int, float]], gpus: float, limits: Limits) -> tuple[Kind, int]:
    """Return GPU workers, which share their node's CPUs as they share its GPUs, and for how many is room."""
    shares = [int(cpu * gpus / gpu) for cpu, gpu in nodes if gpu >= gpus]
    cpus = limits.gpu_worker_cpus or max(1, min(shares, default=_WORKER_CPUS))
    room = sum(min(int(gpu / gpus), cpu // cpus) for cpu, gpu in nodes)
    return Kind(cpus, gpus, room if limits.max_gpu_workers is None else limits.max_gpu_workers), room


def _awaited(kinds: Sequence[Kind], limits: Limits) -> Kind:
    """Return a worker of a kind that has no room yet; raises UsageError if none is allowed."""
    allowed = [kind for kind in kinds if (limits.max_gpu_workers if kind.gpus else limits.max_workers) != 0]
    if not allowed:
        raise UsageError(
            "no worker is left: --max-workers 0 allows GPU workers alone, --max-gpu-workers 0 none of those"
        )
    # the last one is of CPUs, unless the device forbids it
    return replace(allowed[-1], most=1)


def _left(node: tuple[int, float], kind: Kind) -> int:
    """Return the CPUs of a node that its GPU workers leave."""
    cpus, gpus = node
    return cpus - kind.cpus * min(int(gpus / kind.gpus), cpus // kind.cpus) if kind.most else cpus
