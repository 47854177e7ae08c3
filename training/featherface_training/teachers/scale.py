"""Read off photos what CenterFace's scores, or a RetinaFace's, are worth in YuNet's.

`python -m featherface_training.teachers.scale --help`. Of each is fitted how often a box of a score is a
labelled face (Platt, 1999): a logit x has the odds exp(a x + b). The other's logit is then worth the one of
YuNet's that has the same odds.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tqdm import tqdm

from ..data.photos import read_pixels
from ..data.wider import LabelError, read_wider
from ..evaluation.errors import EvaluationError
from ..evaluation.peers import Peer
from ..evaluation.reliability import Judged, judge
from .foreign import LEAST_SCORE
from .lesson import TeacherError

__all__ = ["main", "odds", "scale"]

# where both answer, in pixels of what the other sees
SIZES = (24, 48)
LEAST_BOXES = 50


def odds(judged: Judged) -> tuple[float, float]:
    """Fit the log odds of being right, `a` logit + `b`, by maximum likelihood.

    Raises
    ------
    TeacherError
        If there is too little to fit, or all of it is right or wrong.
    """
    right = torch.from_numpy(judged.right.astype(np.float64))
    if len(right) < LEAST_BOXES or right.mean() in (0.0, 1.0):
        raise TeacherError(
            f"expected at least {LEAST_BOXES} boxes, right ones and wrong ones, got {len(right)}, "
            f"{int(right.sum())} of them right: take more photos"
        )
    logits = torch.from_numpy(np.clip(judged.confidence, 1e-6, 1 - 1e-6)).logit()
    line = torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)
    fit = torch.optim.LBFGS([line], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        fit.zero_grad()
        wrong = F.binary_cross_entropy_with_logits(line[0] * logits + line[1], right)
        wrong.backward()
        return wrong

    fit.step(loss)
    slope, shift = line.detach().tolist()
    return slope, shift


def scale(theirs: tuple[float, float], ours: tuple[float, float]) -> tuple[float, float]:
    """Return slope and shift that move logits of the one line of `odds` to where the other has the same."""
    (slope, shift), (our_slope, our_shift) = theirs, ours
    return slope / our_slope, (shift - our_shift) / our_slope


def _photos(wider: Path, labels: Path, count: int) -> list[tuple[Path, NDArray[np.float64]]]:
    present = read_wider(wider, labels)
    chosen = present[:: max(1, len(present) // count)][:count]
    return [(path, photo.boxes.astype(np.float64)) for path, photo in chosen]


def _judge(
    peer: Peer, photos: Sequence[tuple[Path, NDArray[np.float64]]], size: int, enlarge: int, name: str
) -> Judged:
    parts = []
    for path, faces in tqdm(photos, desc=name, unit="photo", disable=None):
        rgb = cv2.cvtColor(read_pixels(path), cv2.COLOR_BGR2RGB)
        found = peer(rgb, size * enlarge)
        boxes = np.concatenate([found.boxes, found.scores[:, None]], 1)
        sizes = np.sqrt((boxes[:, 2:4] - boxes[:, :2]).clip(0).prod(1)) * size / max(rgb.shape[:2])
        within = (sizes >= SIZES[0]) & (sizes < SIZES[1])
        parts.append(judge(boxes[within], faces, np.ones(len(faces), bool)))
    return Judged.together(parts)


def main(argv: list[str] | None = None) -> int:
    """Print the two numbers."""
    parser = argparse.ArgumentParser(
        prog="python -m featherface_training.teachers.scale", description=__doc__
    )
    parser.add_argument("--wider", type=Path, required=True, help="the folder with WIDER_train/images")
    parser.add_argument("--labels", type=Path, required=True, help="label.txt, or label.txt.gz")
    parser.add_argument("--yunet", type=Path, required=True, help="sees the photos enlarged")
    parser.add_argument("--other", type=Path, required=True, help="CenterFace or a RetinaFace")
    parser.add_argument("--size", type=int, default=640, help="the long side (default: 640)")
    parser.add_argument("--enlarge", type=int, default=2, help="how many times as large (default: 2)")
    parser.add_argument(
        "--photos", type=int, default=130, help="spread over the labels' order (default: 130)"
    )
    parser.add_argument("--threads", type=int, default=0, help="0 (default) for all")
    args = parser.parse_args(argv)
    if min(args.size, args.enlarge, args.photos) < 1:
        parser.error("--size, --enlarge and --photos: expected at least 1")
    try:
        photos = _photos(args.wider, args.labels, args.photos)
        lines = []
        for name, path, times in (("YuNet", args.yunet, args.enlarge), (args.other.stem, args.other, 1)):
            peer = Peer(path, threshold=LEAST_SCORE, threads=args.threads)
            judged = _judge(peer, photos, args.size, times, name)
            slope, shift = odds(judged)
            lines.append((slope, shift))
            count, right = len(judged.right), int(judged.right.sum())
            print(f"{name}: {count} boxes, {right} of them faces, log odds {slope:.2f} logit {shift:+.2f}")
        slope, shift = scale(lines[1], lines[0])
    except (LabelError, EvaluationError, TeacherError) as error:
        parser.error(str(error))
    print(f"{len(photos)} photos: {args.other.stem}'s logit x is worth {slope:.2f} x {shift:+.2f} of YuNet's")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
