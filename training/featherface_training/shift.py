"""Shift small and large faces' confidences: `python -m featherface_training.shift --help`.

Each prior's side has a bias of its own in the class heads, and training sets them by what it sees most of:
small faces, and what looks like one. One list of detections, sorted by confidence, holds all of them, so a
doubtful small face that stands before a certain large one costs precision wherever large faces count. The
shifts are fitted on training photos; nothing else is trained, and the graph stays the same (Menon et al.,
Long-tail learning via logit adjustment, ICLR 2021, shift the logits of rare and frequent classes so).
"""

import argparse
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from featherface.priors import LEVELS

from .checkpoint import CheckpointError, last_stage, load_model, write
from .evaluation.boxes import overlaps
from .evaluation.detectors import Candidates, ScoredBoxes, open_candidates
from .evaluation.fit import training_photos
from .evaluation.ground_truth import GroundTruth
from .evaluation.protocol import DIFFICULTIES, evaluate

__all__ = ["SIDES", "Shiftable", "fit_shifts", "main", "shift"]

SIDES = tuple(side for _, sides in LEVELS for side in sides)
"""Of the priors, pixels of the network's input."""

log = logging.getLogger(__name__)

# Of 32 px there is none: the others move against it, a shift of all alike changes no order. Alone, a large
# side gains little, for most faces have candidates of the next one as well: they move together, too.
_DIRECTIONS = (*((side,) for side in SIDES if side != 32), *(SIDES[first:] for first in (2, 3, 4)))
_LEAST = 0.02
_OVERLAP = 0.4
# as many as the inference path lets into its suppression
_MOST = 5000
_ROWS = 256
_MOST_SHIFT = 1.2
_STRIDES = (0.6, 0.3, 0.15)
_LEAST_GAIN = 1e-5


class Shiftable:
    """A photo's candidates, to be suppressed again and again with other shifts.

    Parameters
    ----------
    found : Candidates
    """

    def __init__(self, found: Candidates) -> None:
        strongest = np.argsort(-found.margins, kind="stable")[:_MOST]
        self._corners = found.corners[strongest]
        self._margins = found.margins[strongest]
        self._rows = np.searchsorted(SIDES, found.sides[strongest])
        # where boxes lie does not change with their shifts: who suppresses whom is looked up
        self._rivals = [
            np.flatnonzero(row > _OVERLAP)
            for start in range(0, len(strongest), _ROWS)
            for row in overlaps(self._corners[start : start + _ROWS], self._corners)
        ]

    def detections(self, shifts: Mapping[int, float]) -> ScoredBoxes:
        """Return (K', 5) of what has a confidence of at least 0.02 with shifted margins, after NMS at 0.4."""
        margins = self._margins + np.array([shifts[side] for side in SIDES])[self._rows]
        scores = 0.5 + 0.5 * np.tanh(margins / 2)
        gone = scores < _LEAST
        best = []
        for candidate in np.argsort(-scores, kind="stable"):
            if not gone[candidate]:
                best.append(candidate)
                gone[self._rivals[candidate]] = True
        corners = self._corners[best]
        return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2], scores[best, None]], axis=1)


@dataclass(frozen=True, slots=True)
class _Goal:
    found: Mapping[str, Shiftable]
    truth: GroundTruth
    weights: Sequence[float]

    def precisions(self, shifts: Mapping[int, float]) -> list[float]:
        curves = evaluate({name: one.detections(shifts) for name, one in self.found.items()}, self.truth)
        return [curves[level].average_precision for level in DIFFICULTIES]

    def value(self, precisions: Sequence[float]) -> float:
        return sum(weight * one for weight, one in zip(self.weights, precisions, strict=True))


def fit_shifts(
    found: Mapping[str, Shiftable], truth: GroundTruth, weights: Sequence[float]
) -> Iterator[tuple[dict[int, float], list[float]]]:
    """Climb, one direction after the other, as long as the weighted sum of average precisions rises.

    Parameters
    ----------
    found : mapping of str to Shiftable
        By photo.
    truth : GroundTruth
        Of at least these photos.
    weights : sequence of float
        What the average precisions of easy, medium and hard faces count.

    Yields
    ------
    (dict of int to float, list of float)
        Shifts of the margins by the priors' side, and the average precisions of easy, medium and hard faces:
        without any, then each that was better, the best last.
    """
    goal = _Goal(found, truth, weights)
    shifts = dict.fromkeys(SIDES, 0.0)
    reached = goal.precisions(shifts)
    yield dict(shifts), reached
    for stride in _STRIDES:
        risen = True
        while risen:
            risen = False
            for sides, move in product(_DIRECTIONS, (stride, -stride)):
                while True:
                    tried = {**shifts, **{side: round(shifts[side] + move, 6) for side in sides}}
                    if max(map(abs, tried.values())) > _MOST_SHIFT:
                        break
                    precisions = goal.precisions(tried)
                    if goal.value(precisions) <= goal.value(reached) + _LEAST_GAIN:
                        break
                    shifts, reached, risen = tried, precisions, True
                    yield dict(shifts), reached


def shift(checkpoint: Path, output: Path, shifts: Mapping[int, float]) -> None:
    """Write a checkpoint whose class heads' biases are shifted.

    Parameters
    ----------
    checkpoint : Path
    output : Path
        Receives the checkpoint. It cannot be resumed: it belongs to no run.
    shifts : mapping of int to float
        What the margin of face over background rises by, for each of `SIDES`.

    Raises
    ------
    CheckpointError
        If the checkpoint's weights are shifted already.
    """
    model, entries = load_model(checkpoint)
    if "shifts" in entries:
        raise CheckpointError(f"{checkpoint} is shifted already: expected the checkpoint that it was made of")
    for head, (_, sides) in zip(model.heads, LEVELS, strict=True):
        # half of it each way: background and face of the first prior, then of the second
        halves = torch.tensor([sign * shifts[side] / 2 for side in sides for sign in (-1, 1)])
        with torch.no_grad():
            head.classification.bias += halves
    write(
        {
            "model": model.name,
            **last_stage(entries),
            "history": entries.get("history", []),
            "shifts": {str(side): shifts[side] for side in SIDES},
            "model_state_dict": model.state_dict(),
        },
        output,
    )


def _told(precisions: Sequence[float]) -> str:
    return " / ".join(f"{one:.4f}" for one in precisions)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m featherface_training.shift",
        description="Fit the class heads' biases to training photos at their own size.",
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("output", type=Path, help="checkpoint to write")
    parser.add_argument("--wider", type=Path, required=True, help="WIDER FACE root, whole or partial")
    parser.add_argument("--labels", type=Path, required=True, help="train labels, RetinaFace label.txt[.gz]")
    parser.add_argument("--photos", type=int, default=400, help="photos of train (default 400)")
    parser.add_argument("--seed", type=int, default=1, help="which ones (default 1)")
    parser.add_argument(
        "--weights",
        type=float,
        nargs=3,
        default=(1.0, 1.0, 2.0),
        metavar=("EASY", "MEDIUM", "HARD"),
        help="what the three average precisions count (default 1 1 2)",
    )
    parser.add_argument("--threads", type=int, default=0, help="threads of the session (default: all)")
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    truth, photos = training_photos(args.wider, args.labels, args.photos, args.seed)
    # what shifts could lift above the least confidence
    least = float(np.log(_LEAST / (1 - _LEAST))) - _MOST_SHIFT
    detect = open_candidates(args.checkpoint, "original", least=least, threads=args.threads)
    found = {
        name: Shiftable(detect(path.read_bytes()))
        for name, path in tqdm(photos.items(), unit="photo", disable=None, leave=False)
    }
    for best, precisions in fit_shifts(found, truth, args.weights):
        told = ", ".join(f"{side}: {value:+.2f}" for side, value in best.items())
        log.info("easy / medium / hard %s with %s", _told(precisions), told)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    shift(args.checkpoint, args.output, best)


if __name__ == "__main__":
    main()
