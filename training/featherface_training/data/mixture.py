"""Which photos an epoch shows, in which order, and at which sizes: decided by seed and epoch alone."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .packed import PackedDataset
from .wider import LabelledPhoto

__all__ = ["Mixture", "Step", "epoch_steps"]


@dataclass(frozen=True, slots=True)
class Step:
    """One batch of an epoch: `count` crops of `size` pixels from position `first` of the epoch's order on."""

    first: int
    count: int
    size: int


def epoch_steps(crops: int, batch: int, sizes: tuple[int, ...]) -> list[Step]:
    """Divide an epoch into batches that cycle through `sizes`.

    Parameters
    ----------
    crops : int
        Of the epoch; what doesn't fill a batch at its end is left out.
    batch : int
        Crops in a batch of the first size. Another size gets as many as have the same area together.
    sizes : tuple of int
        Sides in pixels.
    """
    steps: list[Step] = []
    first = 0
    while True:
        size = sizes[len(steps) % len(sizes)]
        count = max(1, batch * sizes[0] ** 2 // size**2)
        if first + count > crops:
            return steps
        steps.append(Step(first, count, size))
        first += count


class Mixture:
    """A main data set, and others of which each epoch shows a part.

    Parameters
    ----------
    main : PackedDataset
        Each of its photos is shown once an epoch.
    extras : mapping of str to PackedDataset
        By name.
    shares : mapping of str to float
        How many crops of an extra data set come with each crop of the main one.

    Raises
    ------
    ValueError
        If `shares` names a data set that is not there, or one that is there has no share.
    """

    def __init__(
        self,
        main: PackedDataset,
        extras: Mapping[str, PackedDataset] | None = None,
        shares: Mapping[str, float] | None = None,
    ) -> None:
        extras, shares = dict(extras or {}), dict(shares or {})
        if set(extras) != set(shares):
            raise ValueError(
                f"the settings give shares to {sorted(shares) or 'no extra data'}, but the data given are "
                f"{sorted(extras) or 'none'}: name the same ones"
            )
        self.main = main
        self.packs = [main, *extras.values()]
        self._counts = [len(main), *(round(shares[name] * len(main)) for name in extras)]

    def __len__(self) -> int:
        """Return the number of crops an epoch shows."""
        return sum(self._counts)

    def order(self, seed: int, epoch: int) -> NDArray[np.int64]:
        """Return an epoch's photos, shape (N, 2): data set, photo."""
        rng = np.random.default_rng([seed, epoch])
        rows = []
        for number, (pack, count) in enumerate(zip(self.packs, self._counts, strict=True)):
            chosen = np.resize(rng.permutation(len(pack)), count)
            rows.append(np.stack([np.full(count, number), chosen], 1))
        return rng.permutation(np.concatenate(rows))

    def __getitem__(self, which: NDArray[np.int64]) -> tuple[NDArray[np.uint8], LabelledPhoto]:
        """Return a photo, as `PackedDataset` does, by a row of `order`."""
        pack, photo = which.tolist()
        return self.packs[pack][photo]
