"""The ways to annotate a folder that people would try first, and ours; each runs in a process of its own.

A contestant gets a folder of photos, a number of CPUs and a place of its own, where it says what is done.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from PIL import Image

from featherface import Detector, ImageError, Settings

__all__ = ["CONTESTANTS", "command_of", "photos_done"]

_SETTINGS: Final = Settings(threads=1)
_COUNT: Final = "count"
_OUTPUT: Final = "output"
_PATIENCE_SECONDS: Final = 24 * 3600.0


class _Count:
    """Photos done, in a file that another process reads."""

    def __init__(self, place: Path) -> None:
        self._file = os.open(place / _COUNT, os.O_CREAT | os.O_WRONLY)
        self._done = 0

    def add(self) -> None:
        self._done += 1
        os.pwrite(self._file, b"%d" % self._done, 0)


def photos_done(place: Path) -> int:
    """Return how many photos the contestant with that place has done."""
    # Imported here: the plain loop and the pool must not carry what the job needs.
    from featherface_batch.ledger import Ledger
    from featherface_batch.s3 import S3Options
    from featherface_batch.storage import open_storage

    output = place / _OUTPUT
    if output.is_dir():
        recorded = Ledger(open_storage(str(output), S3Options())).tallies()
        return sum(tally.photos for tally in recorded.values())
    try:
        return int((place / _COUNT).read_bytes() or 0)
    except FileNotFoundError:
        return 0


def _loop(folder: Path, cpus: int, place: Path) -> None:
    detector = Detector.load(settings=_SETTINGS)
    count = _Count(place)
    for path in sorted(folder.iterdir()):
        with suppress(ImageError):
            detector.detect(path.read_bytes()).to_dict()
        count.add()


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


def _pool(folder: Path, cpus: int, place: Path) -> None:
    count = _Count(place)
    with multiprocessing.get_context("spawn").Pool(cpus, _start_worker) as pool:
        for _ in pool.imap_unordered(_detect_file, sorted(folder.iterdir()), chunksize=8):
            count.add()


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


def _ray_script(folder: Path, cpus: int, place: Path) -> None:
    import ray
    from ray.data import ActorPoolStrategy

    # With as many CPUs as there are, reading and the actors wait for each other for ever.
    ray.init(address="local", num_cpus=2 * cpus + 2, include_dashboard=False, log_to_driver=False)
    photos = ray.data.read_images(str(folder), mode="RGB")
    ray.data.DataContext.get_current().enable_progress_bars = False
    found = photos.map_batches(_RayScript, batch_size=8, num_cpus=1, compute=ActorPoolStrategy(size=cpus))
    count = _Count(place)
    for _ in found.iter_rows():
        count.add()


def _annotate(folder: Path, cpus: int, place: Path, **options: Any) -> None:
    from featherface_batch.job import JobConfig, annotate

    output = str(place / _OUTPUT)
    # Taking turns, it is stopped for longer than a photo may take: what was under way would end as an error,
    # and threads with sessions of their own would come in the place of those that seem to hang.
    patient = JobConfig(
        str(folder), output, _SETTINGS, formats=("jsonl",), cpus=cpus, timeout=_PATIENCE_SECONDS, **options
    )
    annotate(patient)


def _annotate_full(folder: Path, cpus: int, place: Path) -> None:
    from featherface_benchmarks.batch.large_photos import FullDecodeFinder

    _annotate(folder, cpus, place, load=FullDecodeFinder)


CONTESTANTS: Final[dict[str, Callable[[Path, int, Path], None]]] = {
    "loop": _loop,
    "annotate": _annotate,
    "annotate-full": _annotate_full,
    "pool": _pool,
    "ray-script": _ray_script,
}
"""The contestants by name; each annotates all photos of a folder with a number of CPUs."""


def command_of(contestant: str, folder: Path, cpus: int, place: Path) -> list[str]:
    """Return the command that runs a contestant."""
    module = "featherface_benchmarks.batch.contestants"
    return [sys.executable, "-m", module, contestant, str(folder), str(cpus), str(place)]


if __name__ == "__main__":
    CONTESTANTS[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
