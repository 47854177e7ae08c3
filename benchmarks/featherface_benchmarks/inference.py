"""How long one photo takes, stage by stage, and how our networks compare with others on the same input."""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from featherface import DetectOptions, Detector, Settings
from featherface.images import decode
from featherface.resize import plan, to_model_input

__all__ = ["Contest", "Stages", "made_photo", "network_contest", "photo_stages"]


@dataclass(frozen=True, slots=True)
class Contest:
    """One contestant's runs over the same inputs.

    Parameters
    ----------
    name : str
    milliseconds : tuple of float
        One for each round.
    """

    name: str
    milliseconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median of the rounds in milliseconds."""
        return statistics.median(self.milliseconds)


@dataclass(frozen=True, slots=True)
class Stages:
    """Median milliseconds a photo spends in each stage."""

    model: str
    decode: float
    resize: float
    infer: float

    @property
    def photos_per_second(self) -> float:
        """One after the other, on the threads given."""
        return 1000 / (self.decode + self.resize + self.infer)


def made_photo(width: int = 1280, height: int = 960) -> bytes:
    """Return a JPEG of smooth noise, about as expensive to decode as a photo of this size."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 255, (height // 16, width // 16, 3), dtype=np.uint8))
    out = io.BytesIO()
    coarse.resize((width, height), Image.Resampling.BICUBIC).save(out, "JPEG", quality=90)
    return out.getvalue()


def _interleave(contestants: Sequence[tuple[str, Callable[[], object]]], rounds: int) -> list[Contest]:
    """Run all once a round, so that whatever slows the machine meanwhile slows all of them alike."""
    for _, run in contestants:
        run()
        run()
    times: dict[str, list[float]] = {name: [] for name, _ in contestants}
    for _ in range(rounds):
        for name, run in contestants:
            began = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - began) * 1000)
    return [Contest(name, tuple(values)) for name, values in times.items()]


def _foreign(path: Path, shape: tuple[int, int], threads: int) -> Callable[[], object]:
    """Open any single-input ONNX network, at `shape` (height, width) unless its input is fixed."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ValueError(f"{path} is no network that onnxruntime can run: {error}") from error
    source = session.get_inputs()[0]
    sides = [f if isinstance(f, int) else s for f, s in zip(source.shape[2:], shape, strict=True)]
    batch: npt.NDArray[np.float32] = np.random.default_rng(0).random((1, 3, *sides), dtype=np.float32)
    if sides != list(shape):
        raise ValueError(
            f"{path.name} takes {sides[1]}x{sides[0]} only; the others run at {shape[1]}x{shape[0]}"
        )
    return lambda: session.run(None, {source.name: batch})


def network_contest(
    models: Sequence[str], peers: Sequence[Path], *, shape: tuple[int, int], threads: int, rounds: int
) -> list[Contest]:
    """Time the networks alone, ours and others, on one input of `shape` (height, width).

    Parameters
    ----------
    models : sequence of {"nano", "v1"}
        Packages of ours; ``nano:int8`` for another precision.
    peers : sequence of Path
        ONNX files.
    shape : tuple of int
        Height and width in pixels, multiples of 32.
    threads : int
        Threads of each session.
    rounds : int
        Interleaved runs of each.

    Raises
    ------
    ValueError
        If a peer is no network, or its input has another, fixed size.
    """
    batch = np.random.default_rng(0).uniform(-120, 130, (1, 3, *shape)).astype(np.float32)
    contestants: list[tuple[str, Callable[[], object]]] = []
    for model in models:
        session: Any = _detector(model, threads)._session
        contestants.append((model, partial(session.run, batch)))
    for path in peers:
        contestants.append((path.stem, _foreign(path, shape, threads)))
    return _interleave(contestants, rounds)


def _detector(model: str, threads: int, *, mirror: bool = False) -> Detector:
    name, _, precision = model.partition(":")
    precision = precision or "fp32"
    return Detector.load(settings=Settings(model=name, precision=precision, mirror=mirror, threads=threads))


def photo_stages(
    models: Sequence[str],
    photos: Sequence[bytes],
    *,
    size: int,
    threads: int,
    rounds: int,
    mirror: bool = False,
) -> list[Stages]:
    """Time a photo's way through the deployed path: decode, resize, network and postprocessing."""
    result = []
    for model in models:
        detector = _detector(model, threads, mirror=mirror)
        limits = detector.settings.image_limits
        options = DetectOptions(input_size=size)
        decoding: list[float] = []
        resizing: list[float] = []
        inferring: list[float] = []
        for turn in range(rounds + 1):
            for data in photos:
                start = time.perf_counter()
                photo = decode(data, limits=limits, long_side=size)
                decoded = time.perf_counter()
                to_model_input(photo, plan(photo.width, photo.height, size, "long_side"))
                resized = time.perf_counter()
                prepared = detector.prepare(data, options)
                ready = time.perf_counter()
                detector.infer([prepared], options)
                done = time.perf_counter()
                if turn:
                    # the first turn pays for what is made once
                    decoding.append(decoded - start)
                    resizing.append(resized - decoded)
                    inferring.append(done - ready)
        medians = (statistics.median(values) * 1000 for values in (decoding, resizing, inferring))
        result.append(Stages(model, *medians))
    return result
