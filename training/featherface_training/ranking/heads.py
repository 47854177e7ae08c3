"""Writing fitted class heads into a checkpoint."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..checkpoint import CheckpointError, last_stage, load_model, write
from ..models.heads import PRIORS_PER_CELL
from .fit import Change

__all__ = ["change_heads"]


def change_heads(checkpoint: Path, output: Path, change: Change, told: Mapping[str, Any]) -> None:
    """Write a checkpoint whose class heads are changed.

    Parameters
    ----------
    checkpoint : Path
    output : Path
        Receives the checkpoint. It cannot be resumed: it belongs to no run.
    change : Change
    told : mapping
        What the checkpoint tells of how the change was fitted, as JSON.

    Raises
    ------
    CheckpointError
        If the checkpoint's heads are fitted already.
    """
    model, entries = load_model(checkpoint)
    if "ranking" in entries:
        raise CheckpointError(f"{checkpoint} is fitted already: expected the checkpoint that it was made of")
    rows = zip(change.weights.split(PRIORS_PER_CELL), change.biases.split(PRIORS_PER_CELL), strict=True)
    # half of it each way: background and face of the first prior, then of the second
    ways = torch.tensor([-0.5, 0.5]).repeat(PRIORS_PER_CELL)
    for head, (weights, biases) in zip(model.heads, rows, strict=True):
        with torch.no_grad():
            head.classification.weight += (weights.repeat_interleave(2, 0) * ways[:, None])[..., None, None]
            head.classification.bias += biases.repeat_interleave(2) * ways
    write(
        {
            "model": model.name,
            **last_stage(entries),
            "history": entries.get("history", []),
            "ranking": dict(told),
            "model_state_dict": model.state_dict(),
        },
        output,
    )
