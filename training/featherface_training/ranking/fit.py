"""Climbing average precision with the last layer of the class heads."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .groups import SIDES, Groups
from .precision import smooth_average_precision

__all__ = ["Change", "FitSettings", "fit"]


@dataclass(frozen=True, slots=True)
class FitSettings:
    """Settings of `fit`.

    Attributes
    ----------
    weights : tuple of float
        What the average precisions of easy, medium and hard faces count.
    ridge : float
        Of the squares of the weights' changes, in units of the features' standard deviations. Less lets
        candidates that no photo showed overtake.
    steps : int
        Of Adam over all photos, whose rates fall to nothing.
    weight_rate, bias_rate : float
        Learning rates at the start.
    """

    weights: tuple[float, float, float] = (1.0, 1.0, 2.0)
    ridge: float = 0.05
    steps: int = 120
    weight_rate: float = 0.02
    bias_rate: float = 0.06


@dataclass(frozen=True, slots=True)
class Change:
    """What is added to a margin: `weights[side] @ features + biases[side]`.

    Attributes
    ----------
    weights : Tensor, shape (6, C), float32
        By the prior's side, in the order of `SIDES`.
    biases : Tensor, shape (6,), float32
    """

    weights: Tensor
    biases: Tensor


class _Lists:
    """Lists of detections, such as of one set of photos at several sizes, whose best candidates change.

    Parameters
    ----------
    lists : sequence of Groups
    centre, scale : Tensor, shape (6, C)
        Mean and standard deviation of the features, by the prior's side.
    """

    def __init__(self, lists: Sequence[Groups], centre: Tensor, scale: Tensor) -> None:
        self._lists = []
        for groups in lists:
            sides = torch.from_numpy(groups.sides)
            features = torch.from_numpy(groups.features)
            chosen = [torch.nonzero(sides == side)[:, 0] for side in range(len(SIDES))]
            scaled = [
                (features[rows].float() - centre[side]) / scale[side] for side, rows in enumerate(chosen)
            ]
            tensors = [
                torch.from_numpy(values)
                for values in (groups.margins, groups.labels, groups.owners, groups.weights, groups.faces)
            ]
            self._lists.append((torch.cat(chosen), scaled, sides, *tensors))

    def precisions(self, weights: Tensor, biases: Tensor) -> Tensor:
        """Return the smooth average precisions (lists, 3) of heads changed by standardised weights."""
        reached = []
        for order, scaled, sides, margins, labels, owners, count, faces in self._lists:
            rises = torch.cat([features @ weights[side] for side, features in enumerate(scaled)])
            moved = margins + biases[sides] + torch.zeros_like(margins).index_add(0, order, rises)
            best = _best_of_each(moved.detach(), owners, len(count))
            reached.append(smooth_average_precision(moved[best], labels[best], count, faces.float()))
        return torch.stack(reached)


def _best_of_each(margins: Tensor, owners: Tensor, groups: int) -> Tensor:
    """Return the row of the largest margin of each group, shape (groups,); of equals, the last."""
    highest = torch.full((groups,), -torch.inf).scatter_reduce(0, owners, margins, "amax")
    rows = torch.nonzero(margins == highest[owners])[:, 0]
    return torch.zeros(groups, dtype=torch.int64).scatter_reduce(0, owners[rows], rows, "amax")


def _statistics(lists: Sequence[Groups]) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of the features by the prior's side, shape (6, C) each."""
    means, deviations = [], []
    for side in range(len(SIDES)):
        parts = [torch.from_numpy(groups.features[groups.sides == side]) for groups in lists]
        seen = torch.cat(parts).float()
        few = len(seen) < 2
        means.append(torch.zeros(seen.shape[1]) if few else seen.mean(0))
        deviations.append(torch.ones(seen.shape[1]) if few else seen.std(0).clamp(min=1e-3))
    return torch.stack(means), torch.stack(deviations)


def fit(
    lists: Sequence[Groups],
    settings: FitSettings,
    *,
    held_out: Sequence[Groups] = (),
    tell: Callable[[int, Tensor, Tensor], None] | None = None,
) -> Change:
    """Climb the sum of average precisions over lists of detections.

    Parameters
    ----------
    lists : sequence of Groups
        Of the same photos at several sizes, say; they count alike.
    settings : FitSettings
    held_out : sequence of Groups
        Lists that are looked at alone.
    tell : callable or None
        Called with the step, and the average precisions (lists, 3) of `lists` and of `held_out`: before the
        first step, and after the last.
    """
    centre, scale = _statistics(lists)
    seen, others = _Lists(lists, centre, scale), _Lists(held_out, centre, scale) if held_out else None
    weights = torch.zeros_like(centre, requires_grad=True)
    biases = torch.zeros(len(SIDES), requires_grad=True)
    wanted = torch.tensor(settings.weights)
    optimizer = torch.optim.Adam([{"params": [weights]}, {"params": [biases]}])

    def report(step: int) -> None:
        if tell is not None:
            with torch.no_grad():
                apart = others.precisions(weights, biases) if others else torch.zeros(0, len(wanted))
                tell(step, seen.precisions(weights, biases), apart)

    report(0)
    for step in range(settings.steps):
        left = 1 - step / settings.steps
        for group, rate in zip(
            optimizer.param_groups, (settings.weight_rate, settings.bias_rate), strict=True
        ):
            group["lr"] = rate * left
        gained = (seen.precisions(weights, biases) @ wanted).mean()
        loss = settings.ridge * weights.square().sum() - gained
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    report(settings.steps)
    final = (weights / scale).detach()
    return Change(final, biases.detach() - (final * centre).sum(1))
