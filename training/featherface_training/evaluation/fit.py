"""Does a model know its own training photos? `python -m featherface_training.evaluation.fit --help`.

A model that is far ahead of others on the photos that it was trained on, but not on val, has learnt them by
heart and wants more photos; one that is as far behind on both wants more training.
"""

import argparse
from pathlib import Path

import numpy as np

from ..data.wider import LabelledPhoto, read_wider
from .cli import parse_size
from .detectors import Size, open_detector
from .ground_truth import GroundTruth, PhotoTruth, by_height, read_ground_truth
from .protocol import DIFFICULTIES, evaluate
from .run import find_photos, predict

__all__ = ["labelled_truth", "main", "training_photos"]


def labelled_truth(photo: LabelledPhoto) -> PhotoTruth:
    """Let a photo's faces count by their height; regions where nobody knows are faces that don't count."""
    boxes = np.concatenate([photo.boxes, photo.ignored]).astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    known = np.arange(len(boxes)) < len(photo.boxes)
    counted = by_height(boxes).counted
    return PhotoTruth(boxes, {level: chosen & known for level, chosen in counted.items()})


def training_photos(
    wider: Path, labels: Path, count: int | None, seed: int
) -> tuple[GroundTruth, dict[str, Path]]:
    """Choose labelled photos of train at random, at most `count`, or all.

    Raises
    ------
    LabelError
        If no labelled photo is present.
    """
    pairs = read_wider(wider, labels)
    chosen = [pairs[i] for i in np.random.default_rng(seed).permutation(len(pairs))[:count]]
    truth = {photo.name: labelled_truth(photo) for _, photo in chosen}
    return truth, {photo.name: path for path, photo in chosen}


def _row(model: str, size: Size, truth: GroundTruth, photos: dict[str, Path], threads: int) -> str:
    curves = evaluate(predict(open_detector(model, size, threads=threads), photos), truth)
    return " / ".join(f"{curves[level].average_precision:.4f}" for level in DIFFICULTIES)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m featherface_training.evaluation.fit",
        description="Average precision on train beside that on val, of faces of at least 50, 30 and 10 px.",
    )
    parser.add_argument("--wider", type=Path, required=True, help="WIDER FACE root, whole or partial")
    parser.add_argument("--labels", type=Path, required=True, help="train labels, RetinaFace label.txt[.gz]")
    parser.add_argument("--ground-truth", type=Path, required=True, help="folder of the official .mat files")
    parser.add_argument("--model", action="append", required=True, help="v1, nano, or a path; repeat")
    parser.add_argument(
        "--size", type=parse_size, default="original", help="long side in pixels, or 'original'"
    )
    parser.add_argument("--photos", type=int, default=300, help="photos of train (default 300)")
    parser.add_argument("--seed", type=int, default=1, help="which ones (default 1)")
    parser.add_argument("--threads", type=int, default=0, help="threads of the session (default: all)")
    args = parser.parse_args(arguments)
    official = read_ground_truth(args.ground_truth)
    found = find_photos(args.wider, official)
    parts = {
        "train": training_photos(args.wider, args.labels, args.photos, args.seed),
        "val": ({name: by_height(official[name].boxes) for name in found}, found),
    }
    for split, (truth, photos) in parts.items():
        print(f"{split}, {len(photos)} photos, size {args.size}")
        for model in args.model:
            print(f"  {Path(model).name:28} {_row(model, args.size, truth, photos, args.threads)}")


if __name__ == "__main__":
    main()
