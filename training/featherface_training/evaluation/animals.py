"""How many animals are taken for people: `python -m featherface_training.evaluation.animals --help`."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from ..data.animals import Animals, read_animals
from .boxes import corners
from .detectors import open_detector

__all__ = ["Alarms", "count_alarms", "main"]


@dataclass(frozen=True, slots=True)
class Alarms:
    """What a detector made of photos of animals.

    Attributes
    ----------
    photos, animals : int
        What was looked at.
    alarms : int
        Findings that hold an eye or the nose of an animal.
    """

    photos: int
    animals: int
    alarms: int


def count_alarms(
    model: str,
    photos: dict[Path, Animals],
    *,
    size: int = 640,
    confidence: float = 0.5,
    mirror: bool = False,
    threads: int = 0,
) -> Alarms:
    """Search photos of animals for faces.

    Parameters
    ----------
    model : str
        A package's name, an `.onnx` of ours or of a peer, or a checkpoint.
    photos : dict of Path to Animals
    size : int
        Long side in pixels.
    confidence : float
        What a finding needs to count.
    mirror : bool
        Whether our models look at each photo twice.
    threads : int
        Of the session; 0 for all.

    Raises
    ------
    EvaluationError
        The model is none that can be opened.
    """
    detect = open_detector(model, size, mirror=mirror, threads=threads)
    alarms = 0
    for path, animals in tqdm(photos.items(), desc=Path(model).name, unit="photo", disable=None):
        found = corners(detect(path.read_bytes()))
        alarms += int(animals.show_in(found[found[:, 4] >= confidence, :4]).sum())
    return Alarms(len(photos), sum(len(animals.boxes) for animals in photos.values()), alarms)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m featherface_training.evaluation.animals",
        description="How many animals of AnimalPose a detector takes for people.",
    )
    parser.add_argument("photos", type=Path, help="folder of photos, held out from training")
    parser.add_argument("--animals", type=Path, required=True, help="AnimalPose's keypoints.json")
    parser.add_argument("--model", action="append", required=True, help="v1, nano, or a path; repeat")
    parser.add_argument("--size", type=int, default=640, help="long side in pixels (default 640)")
    parser.add_argument("--confidence", type=float, default=0.5, help="least confidence (default 0.5)")
    parser.add_argument("--mirror", action="store_true", help="our models look at each photo twice")
    parser.add_argument("--threads", type=int, default=0, help="threads of the session (default: all)")
    args = parser.parse_args(arguments)
    known = read_animals(args.animals)
    photos = {path: known[path.name] for path in sorted(args.photos.rglob("*")) if path.name in known}
    if not photos:
        parser.error(f"none of the photos in {args.photos} is in {args.animals}")
    for model in args.model:
        alarms = count_alarms(
            model,
            photos,
            size=args.size,
            confidence=args.confidence,
            mirror=args.mirror,
            threads=args.threads,
        )
        print(
            f"{Path(model).name:28} {alarms.alarms} of {alarms.animals} animals taken for people, "
            f"{alarms.photos} photos"
        )


if __name__ == "__main__":
    main()
