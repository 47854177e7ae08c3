"""Which photos an epoch shows, in which order, and at which sizes: decided by seed and epoch alone."""

from collections.abc import Collection, Mapping
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
        How many samples of an extra data set come with each of the main one.
    fourfold : collection of str
        Extra data sets of which each sample shows four photos: small ones, which would have to be enlarged to
        fill it.

    Raises
    ------
    ValueError
        If `shares` names a data set that is not there, or one that is there has no share; or if `fourfold`
        names one that is not there.
    """

    def __init__(
        self,
        main: PackedDataset,
        extras: Mapping[str, PackedDataset] | None = None,
        shares: Mapping[str, float] | None = None,
        fourfold: Collection[str] = (),
    ) -> None:
        extras, shares = dict(extras or {}), dict(shares or {})
        if set(extras) != set(shares):
            raise ValueError(
                f"the settings give shares to {sorted(shares) or 'no extra data'}, but the data given are "
                f"{sorted(extras) or 'none'}: name the same ones"
            )
        if unknown := set(fourfold) - set(extras):
            raise ValueError(
                f"the settings show four photos at once of {sorted(unknown)}, but the extra data given are "
                f"{sorted(extras) or 'none'}: name some of these"
            )
        self.main = main
        self.packs = [main, *extras.values()]
        self._fourfold = {number for number, name in enumerate(extras, 1) if name in fourfold}
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

    def sample(
        self, rng: np.random.Generator, order: NDArray[np.int64], position: int, mosaic: float
    ) -> NDArray[np.int64]:
        """Return the rows of the photos that a position of `order` shows: (1, 2), or (4, 2) in a mosaic.

        With probability `mosaic` three others of any data set join it, else three of its own if its data set
        is a fourfold one.
        """
        if rng.random() < mosaic:
            return order[[position, *rng.choice(len(order), 3)]]
        pack = int(order[position, 0])
        if pack in self._fourfold:
            fellows = rng.integers(len(self.packs[pack]), size=3)
            return np.concatenate([order[[position]], np.stack([np.full(3, pack), fellows], 1)])
        return order[[position]]

    def __getitem__(self, which: NDArray[np.int64]) -> tuple[NDArray[np.uint8], LabelledPhoto]:
        """Return a photo, as `PackedDataset` does, by a row of `order`."""
        pack, photo = which.tolist()
        return self.packs[pack][photo]
