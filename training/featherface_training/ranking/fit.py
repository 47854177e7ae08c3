"""Climbing average precision with the last two layers towards the class outputs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..losses.average_precision import smooth_average_precision
from ..models.featherface import FeatherFace
from ..models.heads import PRIORS_PER_CELL
from .groups import Groups
from .tail import Tail, tails

__all__ = ["FitSettings", "fit"]

Tell = Callable[[int, Tensor, Tensor], None]

# of the convolution's learning rate: the others are larger, and few
_RATES = {"weight": 1, "bias": 2, "class_weight": 10, "class_bias": 60}


@dataclass(frozen=True, slots=True)
class FitSettings:
    """Settings of `fit`.

    Attributes
    ----------
    weights : tuple of float
        What the average precisions of easy, medium and hard faces count.
    hold : float
        Of the squared changes of the encoded boxes and landmarks where a face is found: their heads see what
        the fitted convolution makes, and stay as they are.
    steps : int
        Of Adam over all photos.
    learning_rate : float
        Of the convolution at the start; it falls to nothing.
    bf16 : bool
        Whether the convolution is computed in bfloat16.
    """

    weights: tuple[float, float, float] = (1.0, 1.0, 2.0)
    hold: float = 0.3
    steps: int = 140
    learning_rate: float = 1e-3
    bf16: bool = True


class _Layers(nn.Module):
    """A tail whose normalisation is part of its convolution, and whose class head returns margins."""

    def __init__(self, tail: Tail, dtype: torch.dtype) -> None:
        super().__init__()
        self.tail, self.dtype = tail, dtype
        norm, head = tail.normalisation, tail.head
        assert norm.running_mean is not None
        assert norm.running_var is not None
        self.scale = (norm.weight * torch.rsqrt(norm.running_var + norm.eps)).detach()
        self.weight = nn.Parameter((tail.convolution.weight.flatten(1) * self.scale[:, None]).detach())
        self.bias = nn.Parameter((norm.bias - norm.running_mean * self.scale).detach())
        rows = head.classification.weight.detach().flatten(1)
        self.class_weight = nn.Parameter(rows[1::2] - rows[0::2])
        biases = head.classification.bias.detach()
        self.class_bias = nn.Parameter(biases[1::2] - biases[0::2])
        self.others = torch.cat([head.box.weight, head.landmark.weight]).detach().flatten(1)
        self.start = {name: value.detach().clone() for name, value in self.named_parameters()}

    def hidden(self, patches: Tensor) -> Tensor:
        """Return what the heads see where the convolution sees `patches` (R, 9 * C): shape (R, K)."""
        made = (patches @ self.weight.t().to(self.dtype)).float() + self.bias
        return made.relu()[:, self.tail.order]

    def margins(self, hidden: Tensor, prior: Tensor) -> Tensor:
        """Return the margin of each row's prior, shape (R,)."""
        return (hidden @ self.class_weight.t() + self.class_bias).gather(1, prior[:, None])[:, 0]

    @torch.no_grad()
    def write_back(self) -> None:
        """Change the model's layers to what was fitted."""
        norm, head = self.tail.normalisation, self.tail.head.classification
        change = {name: value - self.start[name] for name, value in self.named_parameters()}
        convolution = self.tail.convolution.weight
        convolution += (change["weight"] / self.scale[:, None]).view_as(convolution)
        norm.bias += change["bias"]
        # half of it each way: background and face of the first prior, then of the second
        ways = torch.tensor([-0.5, 0.5]).repeat(PRIORS_PER_CELL)
        rows = change["class_weight"].repeat_interleave(2, 0) * ways[:, None]
        head.weight += rows.view_as(head.weight)
        head.bias += change["class_bias"].repeat_interleave(2) * ways


@dataclass(frozen=True, slots=True)
class _Level:
    """The candidates of one list at one stride."""

    rows: Tensor
    prior: Tensor
    patches: Tensor
    right: Tensor
    others: Tensor


class _List:
    """One list of detections, whose best candidates change."""

    def __init__(self, groups: Groups, layers: Sequence[_Layers]) -> None:
        sides = torch.from_numpy(groups.sides)
        patches = torch.from_numpy(groups.patches)
        self.labels = torch.from_numpy(groups.labels)
        self.owners, self.weights = torch.from_numpy(groups.owners), torch.from_numpy(groups.weights)
        self.faces = torch.from_numpy(groups.faces).float()
        right = (self.labels == 1).any(1)
        self.levels = []
        for i, layer in enumerate(layers):
            rows = torch.nonzero(sides // PRIORS_PER_CELL == i)[:, 0]
            seen, faces = patches[rows].to(layer.dtype), right[rows]
            with torch.no_grad():
                others = layer.hidden(seen[faces]) @ layer.others.t()
            self.levels.append(_Level(rows, sides[rows] % PRIORS_PER_CELL, seen, faces, others))

    def best(self, layers: Sequence[_Layers]) -> tuple[Tensor, Tensor, Tensor]:
        """Return what is detected, margins (G,) and labels (G, 3), and how far boxes and landmarks moved."""
        margins, moved = torch.zeros(len(self.labels)), torch.zeros(())
        for layer, level in zip(layers, self.levels, strict=True):
            hidden = layer.hidden(level.patches)
            margins = margins.index_add(0, level.rows, layer.margins(hidden, level.prior))
            change = (hidden[level.right] @ layer.others.t() - level.others).square().sum()
            moved = moved + change / max(1, len(level.others))
        rows = _best_of_each(margins.detach(), self.owners, len(self.weights))
        return margins[rows], self.labels[rows], moved

    def precisions(self, layers: Sequence[_Layers]) -> tuple[Tensor, Tensor]:
        """Return the smooth average precisions (3,), and how far boxes and landmarks moved."""
        margins, labels, moved = self.best(layers)
        weights = self.weights[:, None]
        right, false = (labels == 1) * weights, (labels == 0) * weights
        return smooth_average_precision(margins, right, false, self.faces), moved


@torch.no_grad()
def _false_alarms(lists: Sequence[_List], layers: Sequence[_Layers]) -> tuple[Tensor, Tensor]:
    """Return the margins of all false alarms, falling, and how many each and those before it stand for."""
    margins, weights = [], []
    for one in lists:
        found, labels, _ = one.best(layers)
        false = (labels == 0).all(1)
        margins.append(found[false])
        weights.append(one.weights[false])
    order = torch.cat(margins).argsort(descending=True)
    return torch.cat(margins)[order], torch.cat(weights)[order].cumsum(0)


def _level(margins: Tensor, counts: Tensor, passed: float) -> float:
    """Return the margin, nearest to 0, above which as many false alarms lie as `passed` says."""
    above, below = margins[counts <= passed][-1:].tolist(), margins[counts > passed][:1].tolist()
    if all(margin > 0 for margin in above) and all(margin <= 0 for margin in below):
        return 0.0
    return sum(above + below) / len(above + below)


def _best_of_each(margins: Tensor, owners: Tensor, groups: int) -> Tensor:
    """Return the row of the largest margin of each group, shape (groups,); of equals, the last."""
    highest = torch.full((groups,), -torch.inf).scatter_reduce(0, owners, margins, "amax")
    rows = torch.nonzero(margins == highest[owners])[:, 0]
    return torch.zeros(groups, dtype=torch.int64).scatter_reduce(0, owners[rows], rows, "amax")


def fit(
    model: FeatherFace,
    lists: Sequence[Groups],
    settings: FitSettings,
    *,
    held_out: Sequence[Groups] = (),
    tell: Tell | None = None,
    every: int = 20,
) -> None:
    """Climb the sum of average precisions over lists of detections, and change the model's last two layers.

    At the end all margins move alike, to where as many false alarms of the lists have a confidence of 0.5 as
    had it before.

    Parameters
    ----------
    model : FeatherFace
        Which the lists are of.
    lists : sequence of Groups
        Of the same photos at several sizes, say; they count alike.
    settings : FitSettings
    held_out : sequence of Groups
        Lists that are looked at alone.
    tell : callable or None
        Called with the step, and the smooth average precisions (lists, 3) of `lists` and of `held_out`.
    every : int
        Steps between these calls; the first comes before any, the last after all.
    """
    layers = [_Layers(tail, torch.bfloat16 if settings.bf16 else torch.float32) for tail in tails(model)]
    seen, apart = ([_List(groups, layers) for groups in part] for part in (lists, held_out))
    margins, counts = _false_alarms(seen, layers)
    passed = float(counts[margins > 0].max()) if (margins > 0).any() else 0.0
    wanted = torch.tensor(settings.weights)
    optimizer = torch.optim.Adam(
        {"params": [getattr(layer, name) for layer in layers], "rate": rate} for name, rate in _RATES.items()
    )

    @torch.no_grad()
    def look(part: Sequence[_List]) -> Tensor:
        return torch.stack([one.precisions(layers)[0] for one in part]) if part else torch.zeros(0, 3)

    for step in range(settings.steps):
        if tell is not None and step % every == 0:
            tell(step, look(seen), look(apart))
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * group["rate"] * (1 - step / settings.steps)
        optimizer.zero_grad()
        # a list at a time: what one keeps for its gradient is large
        for one in seen:
            reached, moved = one.precisions(layers)
            ((settings.hold * moved - reached @ wanted) / len(seen)).backward()
        optimizer.step()
    if tell is not None:
        tell(settings.steps, look(seen), look(apart))
    # the order says nothing of where 0.5 lies in it
    with torch.no_grad():
        rise = _level(*_false_alarms(seen, layers), passed)
        for layer in layers:
            layer.class_bias -= rise
    for layer in layers:
        layer.write_back()
