"""One onnxruntime session: its options, its execution provider, its run."""

from __future__ import annotations

import io
import logging
import os
import threading
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt

from featherface.errors import ModelStructureError, ProviderError

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["INPUT", "OUTPUTS", "Provider", "Session", "usable_cpus"]

Provider = Literal["cpu", "cuda", "tensorrt"]

INPUT: Final = "input"
OUTPUTS: Final = ("classifications", "bbox_regressions", "landmarks")

_LOGGER: Final = logging.getLogger(__name__)
_PROVIDERS: Final[dict[Provider, str]] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
_LOADING: Final = threading.Lock()
# These networks are small: beyond four threads the hand-over between threads costs what the work gains.
_MAX_AUTO_THREADS: Final = 4

Outputs = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]


class Session:
    """A model that runs; safe to share between threads.

    Parameters
    ----------
    model : bytes
        The ONNX model. Bytes and not a path, so that what runs is what was validated.
    device : {"auto", "cpu", "cuda", "tensorrt"}
        ``auto`` takes CUDA where it works, else the CPU; every other value is a requirement.
    threads : int
        Threads inside one run on the CPU; 0 takes `usable_cpus`, at most 4.
    memory_limit_mb : int
        Limit of the GPU arena in MiB; 0 for none.

    Attributes
    ----------
    provider : {"cpu", "cuda", "tensorrt"}
        What really runs the model.
    threads : int
        Threads inside one run on the CPU.

    Raises
    ------
    ProviderError
        The required provider is not in this build of onnxruntime, or did not start.
    ModelStructureError
        onnxruntime cannot read the model, or its input or outputs have other names.
    """

    def __init__(
        self, model: bytes, *, device: str = "auto", threads: int = 0, memory_limit_mb: int = 0
    ) -> None:
        # Imported here: half of what importing this package costs, and those who only read results need none
        # of it.
        import onnxruntime

        wanted = _choose(device, onnxruntime.get_available_providers())
        self.threads: Final = threads or min(usable_cpus(), _MAX_AUTO_THREADS)
        if wanted != "cpu":
            _load_gpu_libraries(onnxruntime)

        def start(provider: Provider) -> onnxruntime.InferenceSession:
            return onnxruntime.InferenceSession(
                model,
                sess_options=_session_options(onnxruntime, self.threads),
                providers=_providers(provider, memory_limit_mb),
                # Left on, a failure makes onnxruntime print to standard output and go on with another
                # provider.
                enable_fallback=0,
            )

        session, reason = None, ""
        try:
            session = start(wanted)
        except Exception as error:
            if wanted == "cpu":
                raise ModelStructureError(f"onnxruntime cannot load the model: {error}") from error
            reason = f": {error}"
        # Where CUDA's libraries do not match there is no exception either: the session just runs on the CPU.
        if session is None or _running(session) != wanted:
            message = f"the {wanted} provider did not start{reason}"
            if device != "auto":
                raise ProviderError(
                    f"{message}. Check the driver and its libraries, or set device to auto or cpu"
                )
            _LOGGER.warning("%s; running on the CPU", message)
            session = session or start("cpu")
        self._session: Final = session
        self.provider: Final = _running(session)
        names = tuple(output.name for output in self._session.get_outputs())
        inputs = tuple(value.name for value in self._session.get_inputs())
        if inputs != (INPUT,) or names != OUTPUTS:
            raise ModelStructureError(
                f"the model must map {INPUT!r} to {', '.join(OUTPUTS)}; it maps {', '.join(inputs)} to "
                f"{', '.join(names)}"
            )

    def run(self, batch: npt.NDArray[np.float32]) -> Outputs:
        """Run the network.

        Parameters
        ----------
        batch : ndarray of float32, shape (N, 3, H, W)
            From `featherface.resize.to_model_input`; H and W are multiples of 32.

        Returns
        -------
        classifications : ndarray of float32, shape (N, P, 2)
            Logits of background and face.
        bbox_regressions : ndarray of float32, shape (N, P, 4)
        landmarks : ndarray of float32, shape (N, P, 10)

        Raises
        ------
        ProviderError
            The provider failed.
        """
        try:
            classifications, boxes, landmarks = self._session.run(list(OUTPUTS), {INPUT: batch})
        except Exception as error:
            shape = tuple(batch.shape)
            raise ProviderError(
                f"{_PROVIDERS[self.provider]} failed on an input of {shape}: {error}"
            ) from error
        return classifications, boxes, landmarks


def usable_cpus() -> int:
    """Return how many CPUs this process may use, by its affinity and its control group's quota."""
    # os.cpu_count() is the machine's, of which a container may own a fraction. Not every system has an
    # affinity.
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        count = min(count, int(quota) // int(period))
    except (OSError, ValueError):
        # No control group, no quota ("max"), or version 1, which the platforms that matter here have left
        # behind.
        pass
    return max(1, count)


def _choose(device: str, available: list[str]) -> Provider:
    if device == "auto":
        return "cuda" if _PROVIDERS["cuda"] in available else "cpu"
    for provider, name in _PROVIDERS.items():
        if provider == device:
            if name not in available:
                raise ProviderError(
                    f"device {device} needs {name}, which this onnxruntime lacks; "
                    f"it has {', '.join(available)}. "
                    "Install onnxruntime-gpu, or set device to auto or cpu"
                )
            return provider
    raise ProviderError(f"device must be auto, {', '.join(_PROVIDERS)}; got {device!r}")


def _load_gpu_libraries(onnxruntime: Any) -> None:
    """Load CUDA and cuDNN from where ``pip install onnxruntime-gpu[cuda,cudnn]`` puts them, if it did.

    The linker does not look into Python's packages, and does look where a system's own CUDA is.
    """
    # What it cannot load it prints, on standard output, which may be where results go. Another thread that
    # did the same at once could keep this one's stream for good.
    with _LOADING, redirect_stdout(io.StringIO()) as said:
        onnxruntime.preload_dlls()
    if said.getvalue():
        _LOGGER.debug("onnxruntime.preload_dlls: %s", said.getvalue().strip())


def _running(session: onnxruntime.InferenceSession) -> Provider:
    first = session.get_providers()[0]
    return next(provider for provider, name in _PROVIDERS.items() if name == first)


def _session_options(onnxruntime: Any, threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    # An explicit number also keeps onnxruntime from pinning its threads, which fails noisily in small
    # containers.
    options.intra_op_num_threads = threads
    # The graph is a chain with short branches: there is nothing to run side by side.
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.inter_op_num_threads = 1
    # Waiting threads that spin take the CPU from the threads that decode photos, and from neighbours on
    # shared cores: about twice slower there, for a gain of a few per cent on an idle machine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # The memory pattern plans one block for each input shape it meets and keeps them all; photos come in
    # dozens of shapes. The arena, which all shapes share, stays on: without it every run pays for its
    # allocations.
    options.enable_mem_pattern = False
    options.enable_cpu_mem_arena = True
    # Errors come as exceptions; anything below is noise on a service's log.
    options.log_severity_level = 3
    return options


def _providers(wanted: Provider, memory_limit_mb: int) -> list[Any]:
    cpu = _PROVIDERS["cpu"]
    if wanted == "cpu":
        return [cpu]
    limit = memory_limit_mb * 1024 * 1024
    cuda_options = {
        # Powers of two: buckets of different shapes reuse each other's blocks instead of each keeping its
        # own.
        "arena_extend_strategy": "kNextPowerOfTwo",
        # The search is paid once per shape, and buckets keep the shapes few.
        "cudnn_conv_algo_search": "EXHAUSTIVE",
        **({"gpu_mem_limit": limit} if limit else {}),
    }
    cuda = (_PROVIDERS["cuda"], cuda_options)
    if wanted == "cuda":
        return [cuda, cpu]
    # TensorRT leaves what it does not know to CUDA.
    return [(_PROVIDERS["tensorrt"], {"trt_max_workspace_size": limit} if limit else {}), cuda, cpu]
