"""Ray for the length of a job: an embedded one that nobody else can reach, or a cluster that exists."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from featherface_batch.pipeline import Pool

__all__ = ["choose_pool", "ray_session"]

_OBJECT_STORE_BYTES: Final = 128 * 1024 * 1024
_WORKER_CPUS: Final = 4
_LOGGER: Final = logging.getLogger(__name__)


@contextmanager
def ray_session(address: str | None, cpus: int) -> Iterator[None]:
    """Connect to Ray, and leave it as it was found: one that this process already uses stays.

    Parameters
    ----------
    address : str, optional
        Of a cluster. If omitted, a Ray of this process's own runs on this machine.
    cpus : int
        CPUs for the embedded Ray's workers.
    """
    # Set before the import: Ray reads them once.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address is None:
        # On a machine that others use too, Ray would end this job's small processes for the memory of theirs,
        # and start them again, without end.
        os.environ.setdefault("RAY_memory_monitor_refresh_ms", "0")
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        if "ray" not in sys.modules:
            # Ray's own ports listen to more than this machine: whoever reaches them needs the token. A
            # process that has imported Ray already has settled this, one way or the other.
            os.environ.setdefault("RAY_AUTH_MODE", "token")
    import ray
    from ray.data import DataContext

    found = ray.is_initialized()
    if found:
        _LOGGER.info("using the Ray that this process is connected to")
    elif address is not None:
        ray.init(address=address, logging_level=logging.ERROR)
    else:
        ray.init(
            address="local",
            # One more than the workers use: small tasks of the pipeline would wait for ever behind a pool of
            # workers that took every CPU.
            num_cpus=cpus + 1,
            include_dashboard=False,
            _node_ip_address="127.0.0.2" if os.name == "posix" and os.uname().sysname == "Linux" else None,
            object_store_memory=_OBJECT_STORE_BYTES,
            logging_level=logging.ERROR,
            log_to_driver=False,
        )
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # What a worker fails with is raised, too; once is enough.
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        if not found:
            ray.shutdown()


def choose_pool(
    address: str | None, cpus: int, worker_cpus: int | None, worker_gpus: float, max_workers: int | None
) -> Pool:
    """Divide the CPUs among workers.

    Parameters
    ----------
    address : str, optional
        Of a cluster.
    cpus : int
        CPUs of this machine, for an embedded Ray.
    worker_cpus : int, optional
        CPUs of a worker; chosen if omitted.
    worker_gpus : float
        GPUs of a worker.
    max_workers : int, optional
        Bound of their number. A cluster that grows must be told: what it has room for now may be nothing.
    """
    if address is None:
        each = min(worker_cpus or _WORKER_CPUS, cpus)
        return Pool(each, worker_gpus, 1, max_workers or max(1, cpus // each))
    if max_workers is not None:
        return Pool(worker_cpus or _WORKER_CPUS, worker_gpus, 1, max_workers)
    import ray

    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    each = worker_cpus or _WORKER_CPUS
    most = max(1, int(resources.get("CPU", 1)) // each)
    if worker_gpus:
        most = max(1, min(most, int(resources.get("GPU", 0) / worker_gpus)))
    return Pool(each, worker_gpus, 1, most)
