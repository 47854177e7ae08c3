"""The command line: `python -m featherface_training.ranking --help`."""

import argparse
import logging
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..checkpoint import CheckpointError, last_stage, load_model, write
from ..data.annotations import split_source
from ..evaluation.cli import parse_size
from ..evaluation.detectors import Size
from ..evaluation.fit import training_photos
from ..evaluation.ground_truth import GroundTruth
from .candidates import Candidates, open_candidates
from .fit import FitSettings, fit
from .groups import LEAST_MARGIN, Groups, group, join, weigh
from .others import other_photos

__all__ = ["main"]

log = logging.getLogger(__name__)

# they are there for their false alarms; of full weight, V1 pays for them with most of what its easy faces won
_EXTRA_WEIGHT = 0.25


def _groups(
    detect: Callable[[bytes, Size, bool], Candidates],
    size: Size,
    truth: GroundTruth,
    photos: dict[str, Path],
    seed: int,
    *,
    empty: bool = False,
    mirrored: bool = False,
) -> list[Groups]:
    random = np.random.default_rng(seed)
    bar = tqdm(photos.items(), desc=f"size {size}", unit="photo", disable=None, leave=False)
    groups = [
        group(detect(path.read_bytes(), size, mirrored), truth[name], random, empty=empty)
        for name, path in bar
    ]
    # the bar shows on terminals only
    log.info("size %s%s: %d photos read", size, ", mirrored" * mirrored, len(groups))
    return groups


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m featherface_training.ranking",
        description="Fit the two layers before the class outputs to average precision on training photos.",
    )
    default = FitSettings()
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("output", type=Path, help="checkpoint to write")
    parser.add_argument("--wider", type=Path, required=True, help="WIDER FACE root, whole or partial")
    parser.add_argument("--labels", type=Path, required=True, help="train labels, RetinaFace label.txt[.gz]")
    parser.add_argument(
        "--size",
        type=parse_size,
        action="append",
        metavar="SIZE",
        help="long side in pixels, or 'original'; repeat (default original and 640)",
    )
    parser.add_argument(
        "--extra",
        action="append",
        default=[],
        metavar="NAME=LABELS:PHOTOS",
        help="another data set, as for featherface_training.train; its photos count, with faces or without",
    )
    parser.add_argument(
        "--extra-weight",
        type=float,
        default=_EXTRA_WEIGHT,
        help=f"what each of their detections counts (default {_EXTRA_WEIGHT})",
    )
    parser.add_argument(
        "--mirror",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="show photos of train mirrored too (default: yes)",
    )
    parser.add_argument("--photos", type=int, help="photos of train (default: all)")
    parser.add_argument("--seed", type=int, default=1, help="which ones (default 1)")
    parser.add_argument(
        "--held-out", type=float, default=0.0, metavar="SHARE", help="of the photos that are measured alone"
    )
    parser.add_argument(
        "--weights",
        type=float,
        nargs=3,
        default=default.weights,
        metavar=("EASY", "MEDIUM", "HARD"),
        help="what the three average precisions count (default 1 1 2)",
    )
    parser.add_argument("--steps", type=int, default=default.steps, help=f"default {default.steps}")
    parser.add_argument(
        "--hold",
        type=float,
        default=default.hold,
        help=f"what moved boxes and landmarks of found faces cost (default {default.hold})",
    )
    parser.add_argument(
        "--learning-rate",
        type=float,
        default=default.learning_rate,
        help=f"of the convolution at the start (default {default.learning_rate})",
    )
    parser.add_argument(
        "--bf16",
        action=argparse.BooleanOptionalAction,
        default=default.bf16,
        help="compute the convolution in bfloat16 (default: yes)",
    )
    parser.add_argument("--threads", type=int, default=0, help="threads of the session (default: all)")
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Run the command line.

    Raises
    ------
    CheckpointError
        If the checkpoint's class outputs are fitted already.
    LabelError
        If labels can't be read.
    """
    parser = _parser()
    args = parser.parse_args(arguments)
    if not 0 <= args.held_out < 1:
        parser.error(f"--held-out: expected a share of at least 0 and less than 1, got {args.held_out}")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if args.threads:
        torch.set_num_threads(args.threads)
    model, entries = load_model(args.checkpoint)
    if "ranking" in entries:
        raise CheckpointError(
            f"{args.checkpoint} is fitted already: expected the checkpoint that it was made of"
        )
    sizes: list[Size] = args.size or ["original", 640]
    truth, photos = training_photos(args.wider, args.labels, args.photos, args.seed)
    more = {name: other_photos(labels, folder) for name, labels, folder in map(split_source, args.extra)}
    kept = len(photos) - int(args.held_out * len(photos))
    detect = open_candidates(model, least=LEAST_MARGIN, threads=args.threads)
    lists, apart = [], []
    for size in sizes:
        groups = _groups(detect, size, truth, photos, args.seed)
        others = [
            weigh(one, args.extra_weight)
            for truths, paths in more.values()
            for one in _groups(detect, size, truths, paths, args.seed, empty=True)
        ]
        seen = dict(list(photos.items())[:kept])
        again = _groups(detect, size, truth, seen, args.seed, mirrored=True) if args.mirror else []
        # a face counts once, whichever way it is seen
        shown = [weigh(one, 1 / 2) for one in (*groups[:kept], *again)] if again else groups[:kept]
        lists.append(join([*shown, *others]))
        apart += [join(groups[kept:])] if groups[kept:] else []

    def tell(step: int, seen: Tensor, others: Tensor) -> None:
        for name, reached in (("fitted", seen), ("held out", others)):
            for size, precisions in zip(sizes, reached.tolist(), strict=False):
                told = " / ".join(f"{one:.4f}" for one in precisions)
                log.info("step %d of %d, size %s, %s: %s", step, settings.steps, size, name, told)

    settings = FitSettings(
        weights=tuple(args.weights),
        hold=args.hold,
        steps=args.steps,
        learning_rate=args.learning_rate,
        bf16=args.bf16,
    )
    fit(model, lists, settings, held_out=apart, tell=tell)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    extra = {name: len(paths) for name, (_, paths) in more.items()}
    fitted = {
        "photos": kept,
        "mirrored": args.mirror,
        "extra": extra,
        "extra_weight": args.extra_weight,
        "sizes": sizes,
        "seed": args.seed,
        **asdict(settings),
    }
    write(
        {
            "model": model.name,
            **last_stage(entries),
            "history": entries.get("history", []),
            "ranking": fitted,
            "model_state_dict": model.state_dict(),
        },
        args.output,
    )
