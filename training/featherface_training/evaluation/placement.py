"""How well small faces are boxed: `python -m featherface_training.evaluation.placement --help`.

Average precision asks for an overlap of one half. A face of 8 px misses it by two pixels beside its place, or
by a box of 12 px: this tells which of the two it is.
"""

import argparse
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .boxes import corners, overlaps
from .cli import parse_size
from .detectors import ScoredBoxes, open_detector
from .ground_truth import GroundTruth, read_ground_truth
from .run import find_photos, input_scales, predict

__all__ = ["HEIGHTS", "Placement", "main", "place_by_height"]

HEIGHTS = (5, 8, 10, 12, 16, 24, 40, 80)
"""Pixels of the network's input: borders of the rows."""

# a cell of the finest stride reaches so far from its centre
_NEAR = 4.0


@dataclass(frozen=True, slots=True)
class Placement:
    """How the faces of one range of heights are boxed.

    Attributes
    ----------
    faces : int
    near : float
        Share with a detection whose centre is less than 4 px, or half the face's height, beside the face's,
        in both directions. The others describe the nearest of these.
    overlapping : float
        Share of all faces that such a detection overlaps by one half.
    distance : float
        Median distance of the centres, pixels of the network's input.
    size : float
        Side of the detection over that of the face, geometric mean; 1 is right.
    """

    faces: int
    near: float
    overlapping: float
    distance: float
    size: float


def _compare(
    detections: ScoredBoxes, boxes: NDArray[np.float64], scale: float
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return which faces (F, 4) have a detection near, and its IoU, distance and size, shape (F, 3)."""
    values = np.zeros((len(boxes), 3))
    if not len(detections) or not len(boxes):
        return np.zeros(len(boxes), bool), values
    found, known = corners(detections)[:, :4], corners(boxes)
    offsets = (known[:, None, :2] + known[:, None, 2:] - found[None, :, :2] - found[None, :, 2:]) / 2 * scale
    beside = np.abs(offsets).max(-1)
    nearest = beside.argmin(1)
    rows = np.arange(len(boxes))
    near = beside[rows, nearest] < np.maximum(_NEAR, boxes[:, 3] * scale / 2)
    sizes = np.sqrt(detections[nearest, 2:4].prod(1) / boxes[:, 2:4].prod(1).clip(1e-9))
    distances = np.hypot(*offsets[rows, nearest].T)
    values[:] = np.stack([overlaps(known, found)[rows, nearest], distances, sizes], 1)
    return near, values


def place_by_height(
    found: dict[str, ScoredBoxes], truth: GroundTruth, scales: dict[str, float]
) -> dict[tuple[int, int], Placement]:
    """Describe how the hard faces of each range of heights are boxed; ranges without faces are left out.

    Parameters
    ----------
    found : dict of str to ndarray, shape (K, 5)
        left, top, width, height, score, by photo.
    truth : GroundTruth
        From `read_ground_truth`.
    scales : dict of str to float
        From `input_scales`.

    Returns
    -------
    dict
        From lowest and highest height, pixels of the network's input.
    """
    heights, nears, rows = [], [], []
    for name, detections in found.items():
        boxes = truth[name].boxes[truth[name].counted["hard"]]
        near, values = _compare(detections, boxes, scales[name])
        heights.append(boxes[:, 3] * scales[name])
        nears.append(near)
        rows.append(values)
    tall, near, measured = np.concatenate(heights), np.concatenate(nears), np.concatenate(rows)
    table = {}
    for low, high in pairwise(HEIGHTS):
        these = (tall >= low) & (tall < high)
        if not these.any():
            continue
        iou, distance, size = measured[these & near].T
        table[low, high] = Placement(
            int(these.sum()),
            float(near[these].mean()),
            float((iou >= 0.5).sum() / these.sum()),
            float(np.median(distance)) if len(distance) else float("nan"),
            float(np.exp(np.log(size).mean())) if len(size) else float("nan"),
        )
    return table


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m featherface_training.evaluation.placement",
        description="How far from its place, and how large, the nearest detection of each hard face is.",
    )
    parser.add_argument("--wider", type=Path, required=True, help="WIDER FACE root, whole or partial")
    parser.add_argument("--ground-truth", type=Path, required=True, help="folder of the official .mat files")
    parser.add_argument("--model", action="append", required=True, help="v1, nano, or a path; repeat")
    parser.add_argument("--size", type=parse_size, default=640, help="long side in pixels, or 'original'")
    parser.add_argument("--threads", type=int, default=0, help="threads of the session (default: all)")
    args = parser.parse_args(arguments)
    truth = read_ground_truth(args.ground_truth)
    photos = find_photos(args.wider, truth)
    scales = input_scales(photos, args.size)
    for model in args.model:
        found = predict(open_detector(model, args.size, threads=args.threads), photos)
        print(f"{Path(model).name}, {len(photos)} photos, size {args.size}")
        print("height in pixels | faces | near | overlapping | distance, px | size")
        for (low, high), row in place_by_height(found, truth, scales).items():
            print(
                f"{low} to {high} | {row.faces} | {row.near:.2f} | {row.overlapping:.2f} | "
                f"{row.distance:.2f} | {row.size:.2f}"
            )


if __name__ == "__main__":
    main()
