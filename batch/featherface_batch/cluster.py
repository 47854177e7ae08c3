"""Ray for the length of a job: an embedded one that nobody else can reach, or a cluster that exists."""

from __future__ import annotations

import logging
import os
import re
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Final

from featherface_batch.errors import ClusterError
from featherface_batch.notices import without_line
from featherface_batch.stopping import undisturbed

__all__ = ["UNREAD", "nodes", "ray_session"]

_OBJECT_STORE_BYTES: Final = 128 * 1024 * 1024
# Ray says so, whatever the level is, of the variable that keeps it silent.
_NOTICE: Final = "Set ray log level from environment variable RAY_BACKEND_LOG_LEVEL"
UNREAD: Final = {
    "RAY_enable_metrics_collection": "0",
    "RAY_task_events_report_interval_ms": "0",
    "RAY_event_stats": "0",
    "REPORTER_UPDATE_INTERVAL_MS": "60000",
}
"""Environment that keeps an embedded Ray from noting what its dashboard and collectors of metrics would read.

It has neither, and whatever its many processes do takes the processors and their caches from the threads that
search. What the user has set already stays.
"""
_PATIENCE_SECONDS: Final = 10
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

    Raises
    ------
    ClusterError
        If no cluster answers there, or Ray does not start here.
    """
    # Set before the import: Ray reads them once.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Under Python's handlers, Ray's C++ puts one of its own that says where SIGTERM came, and aborts some
    # seconds later, whatever is being cleaned up.
    os.environ.setdefault("RAY_DISABLE_FAILURE_SIGNAL_HANDLER", "1")
    loopback = {}
    if address is None:
        # On a machine that others use too, Ray would end this job's small processes for the memory of theirs,
        # and start them again, without end.
        os.environ.setdefault("RAY_memory_monitor_refresh_ms", "0")
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        for name, value in UNREAD.items():
            os.environ.setdefault(name, value)
        if "ray" not in sys.modules:
            # Whoever reaches Ray's ports runs code here, so they listen to this machine alone and ask for a
            # token. The variable is meant for the systems where Ray does so by itself; with a node address
            # other than 127.0.0.1 the ports are open to the network, whatever that address is. A process that
            # has imported Ray already has settled both, one way or the other.
            os.environ.setdefault("RAY_AUTH_MODE", "token")
            loopback = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    # Left to itself, Ray connects whoever calls it to any cluster it finds, or starts one. Where two kinds of
    # workers are read in threads of their own, one of them may call it once more when this session is over.
    with _environment({**loopback, "RAY_ENABLE_AUTO_CONNECT": "0"}):
        import ray

    found = ray.is_initialized()
    with undisturbed() as call:
        try:
            if found:
                _LOGGER.info("using the Ray that this process is connected to")
            elif address is not None:
                _look_for(address)
                with _explained(f"Ray found no cluster at {address}", "is it up, and its token set?"):
                    call(lambda: ray.init(address=address, logging_level=logging.ERROR))
            else:
                _LOGGER.info("starting Ray, which takes some seconds")
                # Ray Data wants it, and until Ray's processes have started, this one only waits.
                threading.Thread(target=import_module, args=("pandas",), daemon=True).start()
                busy = "on a busy machine, the same command may do later"
                with without_line(_NOTICE), _explained("Ray did not start on this machine", busy):
                    call(lambda: _embed(cpus))
            _quieten()
            yield
        finally:
            if not found:
                call(ray.shutdown)


def _embed(cpus: int) -> None:
    import ray

    ray.init(
        address="local",
        num_cpus=cpus,
        include_dashboard=False,
        object_store_memory=_OBJECT_STORE_BYTES,
        logging_level=logging.ERROR,
        log_to_driver=False,
    )


def _quieten() -> None:
    from ray.data import DataContext

    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # What a worker fails with is raised, too; once is enough.
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)


def _look_for(address: str) -> None:
    """Refuse an address where nothing listens: Ray would try for minutes, and fill the terminal meanwhile."""
    address, source = _led_to(address)
    place = re.fullmatch(r"(?:ray://)?\[?([^/\[\]]+)\]?:(\d+)", address)
    if place is None:
        return
    try:
        socket.create_connection((place[1], int(place[2])), timeout=_PATIENCE_SECONDS).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise ClusterError(
            f"nothing answers at {address}{source} ({error}): expected auto, or the HOST:PORT of a running "
            "cluster's head, which `ray start --head` prints"
        ) from error


def _led_to(address: str) -> tuple[str, str]:
    """Tell where "auto" leads, and who says so: the variable, or what the last `ray start` has left.

    Ray documents both with ``ray.init``. `ray stop` takes the file away; a cluster that is killed leaves it.
    """
    if address != "auto":
        return address, ""
    if named := os.environ.get("RAY_ADDRESS"):
        return named, ", which RAY_ADDRESS names"
    left = Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp", "ray/ray_current_cluster")
    try:
        return left.read_text().strip(), f", where {left} says a cluster was started; `ray stop` removes that"
    except OSError:
        return address, ""


@contextmanager
def _explained(what: str, remedy: str) -> Iterator[None]:
    """Make one of our errors of whatever Ray fails with, some of which are plain exceptions."""
    try:
        yield
    except Exception as error:
        said = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ClusterError(f"{what}: {said} ({remedy})") from error


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Set variables for the length of a block: what this process starts later is none of their business."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def nodes(address: str | None, cpus: int) -> list[dict[str, float]]:
    """Return what each node has for workers.

    Parameters
    ----------
    address : str, optional
        Of a cluster.
    cpus : int
        CPUs that an embedded Ray's workers may use.
    """
    import ray

    found = [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    if address is None:
        return [{**resources, "CPU": cpus} for resources in found[:1]]
    return found
