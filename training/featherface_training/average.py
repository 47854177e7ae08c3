"""Average a run's weights with those of runs that led to it: `python -m featherface_training.average --help`.

Weights that one run reached from another's often lie in one basin of the loss, and their mean is better than
either (Wortsman et al., Model soups, ICML 2022; Izmailov et al., Averaging weights leads to wider optima, UAI
2018). Nothing is trained.
"""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from .checkpoint import CheckpointError, load_model, stages, write

__all__ = ["average", "main"]


def average(output: Path, last: Path, earlier: Sequence[tuple[Path, float]]) -> None:
    """Write a checkpoint whose weights are a weighted mean, to evaluate, to package, or to start a run from.

    Parameters
    ----------
    output : Path
        Receives the checkpoint. It cannot be resumed: it belongs to no run.
    last : Path
        Checkpoint of the last run; its weight is what the others leave of 1.
    earlier : sequence of (Path, float)
        Checkpoints of runs that it started from, in however many stages, each with its weight.

    Raises
    ------
    CheckpointError
        If a checkpoint is not one that led to `last`, the weights leave it nothing, or it is
        fitted to average precision.
    """
    model, entries = load_model(last)
    if "ranking" in entries:
        raise CheckpointError(
            f"{last} is fitted to average precision: expected what it was made of, to fit the mean"
        )
    chain = stages(entries)
    weights = [weight for _, weight in earlier]
    share = 1 - math.fsum(weights)
    if not 0 < share < 1 or min(weights) <= 0:
        raise CheckpointError(f"expected weights above 0 that leave some of 1 to {last}, got {weights}")
    state: dict[str, Tensor] = {
        name: value * share if value.is_floating_point() else value
        for name, value in model.state_dict().items()
    }
    parts = []
    for path, weight in earlier:
        other, told = load_model(path)
        before = stages(told)
        if before != chain[: len(before)] or len(before) >= len(chain):
            raise CheckpointError(
                f"{last} did not start from {path}: expected one of the {len(chain) - 1} stages before it"
            )
        for name, value in other.state_dict().items():
            if value.is_floating_point():
                state[name] = state[name] + weight * value
        parts.append({"stage": len(before), "weight": weight})
    parts.append({"stage": len(chain), "weight": round(share, 6)})
    kept = {"model": model.name, **{key: entries[key] for key in ("settings", "step")}}
    write({**kept, "history": chain[:-1], "average": parts, "model_state_dict": state}, output)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m featherface_training.average", description=__doc__)
    parser.add_argument("output", type=Path, help="checkpoint to write")
    parser.add_argument("last", type=Path, help="checkpoint of the last run")
    parser.add_argument(
        "--with",
        dest="earlier",
        action="append",
        required=True,
        metavar="CHECKPOINT=WEIGHT",
        help="of a run that led to it, with its share of the mean",
    )
    args = parser.parse_args(arguments)
    earlier = []
    for item in args.earlier:
        path, _, weight = item.rpartition("=")
        try:
            earlier.append((Path(path), float(weight)))
        except ValueError:
            parser.error(f"--with: expected CHECKPOINT=WEIGHT, got {item!r}")
    args.output.parent.mkdir(parents=True, exist_ok=True)
    average(args.output, args.last, earlier)


if __name__ == "__main__":
    main()
