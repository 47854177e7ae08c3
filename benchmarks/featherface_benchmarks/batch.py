"""How fast the bulk job is, beside the ways that people would try first.

``python -m featherface_benchmarks.batch FOLDER`` runs, interleaved and on the same photos and CPUs: a plain
loop over the inference package, a `multiprocessing.Pool`, the obvious Ray script (``read_images`` and
``map_batches``), and ``featherface annotate``. Each runs in a process of its own, whose whole family is
measured. Start-up is taken out by running each on a few photos as well: the rate is that of the photos
beyond.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Final

from PIL import Image

from featherface import Detector, ImageError, Settings

__all__ = ["CONTESTANTS", "Measurement", "measure"]

_SETTINGS: Final = Settings(threads=1)
_SAMPLE_SECONDS: Final = 0.2
_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a run of one contestant took.

    Parameters
    ----------
    seconds : float
        From start to end, start-up included.
    cpu_seconds : float
        Of all its processes.
    peak_bytes : int
        Memory of all its processes together, shared pages counted once.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: int


def _loop(folder: Path, cpus: int) -> None:
    detector = Detector.load(settings=_SETTINGS)
    for path in sorted(folder.iterdir()):
        try:
            detector.detect(path.read_bytes()).to_dict()
        except ImageError:
            continue


_DETECTOR: Detector | None = None


def _start_worker() -> None:
    global _DETECTOR
    _DETECTOR = Detector.load(settings=_SETTINGS)


def _detect_file(path: Path) -> dict[str, Any] | None:
    assert _DETECTOR is not None
    try:
        return _DETECTOR.detect(path.read_bytes()).to_dict()
    except ImageError:
        return None


def _pool(folder: Path, cpus: int) -> None:
    with multiprocessing.get_context("spawn").Pool(cpus, _start_worker) as pool:
        for _ in pool.imap_unordered(_detect_file, sorted(folder.iterdir()), chunksize=8):
            pass


class _RayScript:
    def __init__(self) -> None:
        self._detector = Detector.load(settings=_SETTINGS)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        faces = []
        for pixels in batch["image"]:
            # The package takes encoded photos; BMP is the cheapest way from pixels to one.
            buffer = io.BytesIO()
            Image.fromarray(pixels).convert("RGB").save(buffer, "BMP")
            faces.append(len(self._detector.detect(buffer.getvalue()).faces))
        return {"faces": faces}


def _ray_script(folder: Path, cpus: int) -> None:
    import ray
    from ray.data import ActorPoolStrategy

    # With as many CPUs as there are, reading and the actors wait for each other for ever.
    ray.init(address="local", num_cpus=2 * cpus + 2, include_dashboard=False, log_to_driver=False)
    photos = ray.data.read_images(str(folder), mode="RGB")
    ray.data.DataContext.get_current().enable_progress_bars = False
    found = photos.map_batches(_RayScript, batch_size=8, num_cpus=1, compute=ActorPoolStrategy(size=cpus))
    for _ in found.iter_rows():
        pass


def _ours(folder: Path, cpus: int) -> None:
    from featherface_batch.job import JobConfig, annotate

    with tempfile.TemporaryDirectory() as output:
        annotate(JobConfig(str(folder), output, _SETTINGS, formats=("jsonl",), cpus=cpus))


CONTESTANTS: Final[dict[str, Callable[[Path, int], None]]] = {
    "loop": _loop,
    "pool": _pool,
    "ray-script": _ray_script,
    "annotate": _ours,
}
"""The contestants by name; each annotates all photos of a folder with a number of CPUs."""


def measure(contestant: str, folder: Path, cpus: int) -> Measurement:
    """Run a contestant in a process of its own and watch its family.

    Parameters
    ----------
    contestant : str
        Of `CONTESTANTS`.
    folder : Path
        Holds nothing but photos.
    cpus : int
    """
    # Ray brings psutil along.
    import ray  # noqa: F401
    import psutil  # type: ignore[import-untyped]  # isort: skip

    command = [sys.executable, "-m", "featherface_benchmarks.batch", str(folder), "--run", contestant]
    environment = {**os.environ, "RAY_memory_monitor_refresh_ms": "0", "OMP_NUM_THREADS": "1"}
    started = time.monotonic()
    process = subprocess.Popen([*command, "--cpus", str(cpus)], env=environment, stdout=subprocess.DEVNULL)
    cpu: dict[int, float] = {}
    peak = 0
    root = psutil.Process(process.pid)
    while process.poll() is None:
        memory = 0
        for member in [root, *_children(root)]:
            try:
                cpu[member.pid] = sum(member.cpu_times()[:2])
                memory += member.memory_full_info().pss
            except psutil.Error:
                continue
        peak = max(peak, memory)
        time.sleep(_SAMPLE_SECONDS)
    if process.returncode:
        raise RuntimeError(
            f"{contestant} failed with exit status {process.returncode}; its messages are above"
        )
    return Measurement(time.monotonic() - started, sum(cpu.values()), peak)


def _children(root: Any) -> list[Any]:
    import psutil

    try:
        return list(root.children(recursive=True))
    except psutil.Error:
        return []


def _copies(photos: Sequence[Path], count: int, folder: Path) -> Path:
    """Make a folder of as many photos as asked for, by linking the same ones again and again."""
    folder.mkdir()
    for number, photo in enumerate(islice(cycle(photos), count)):
        (folder / f"{number:07d}{photo.suffix}").symlink_to(photo.resolve())
    return folder


def _compare(
    photos: Sequence[Path], names: Sequence[str], count: int, few: int, cpus: int, rounds: int
) -> None:
    rates: dict[str, list[float]] = {name: [] for name in names}
    cpu: dict[str, list[float]] = {name: [] for name in names}
    peaks: dict[str, int] = dict.fromkeys(names, 0)
    with tempfile.TemporaryDirectory() as place:
        small = _copies(photos, few, Path(place, "few"))
        large = _copies(photos, count, Path(place, "many"))
        for _ in range(rounds):
            for name in names:
                short, full = measure(name, small, cpus), measure(name, large, cpus)
                rates[name].append((count - few) / (full.seconds - short.seconds))
                cpu[name].append((full.cpu_seconds - short.cpu_seconds) / (count - few))
                peaks[name] = max(peaks[name], full.peak_bytes)
    base = statistics.median(rates[names[0]])
    print(f"{count} photos, {cpus} CPU(s), {rounds} interleaved round(s), start-up taken out")
    print(f"  {'contestant':12} {'photos/s':>9} {'ratio':>7} {'CPU ms/photo':>13} {'peak MiB':>9}")
    for name in names:
        rate = statistics.median(rates[name])
        milliseconds = 1000 * statistics.median(cpu[name])
        print(f"  {name:12} {rate:9.1f} {rate / base:7.2f} {milliseconds:13.1f} {peaks[name] / _MIB:9.0f}")
    print(json.dumps({"rates": rates, "cpu_seconds_per_photo": cpu, "peak_bytes": peaks}))


def main() -> None:
    """Compare the contestants, or run one of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "folder", type=Path, help="photos; used again and again if there are fewer than --count"
    )
    parser.add_argument("--count", type=int, default=1000, help="photos per run (default %(default)s)")
    parser.add_argument("--few", type=int, default=64, help="photos of the run that measures start-up")
    parser.add_argument("--cpus", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", default=",".join(CONTESTANTS), help="contestants, with commas between")
    parser.add_argument("--run", choices=CONTESTANTS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        CONTESTANTS[args.run](args.folder, args.cpus)
        return
    photos = sorted(path for path in args.folder.rglob("*") if path.is_file())
    _compare(photos, args.only.split(","), args.count, args.few, args.cpus, args.rounds)


if __name__ == "__main__":
    main()
