"""Batches that depend on seed, epoch and position alone: a resumed run sees what it would have seen."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from .augment import BGR_MEAN, AugmentSettings, augment, mosaic
from .mixture import Mixture, epoch_steps
from .wider import LabelledPhoto

__all__ = ["Batch", "epoch_batches"]


@dataclass(frozen=True, slots=True)
class Batch:
    """One training batch.

    Attributes
    ----------
    images : Tensor, shape (B, 3, S, S), uint8
        BGR; the mean is taken off on the device.
    boxes : Tensor, shape (M, 4), float32
        Faces of all images together, pixels of the crop.
    landmarks : Tensor, shape (M, 10), float32
        NaN where unknown.
    owners : Tensor, shape (M,), int64
        Which image a face belongs to.
    ignored : Tensor, shape (G, 4), float32
        Regions without loss, pixels of the crop.
    ignored_owners : Tensor, shape (G,), int64
    heights : Tensor, shape (M,), float32
        Of the faces, in pixels of their photos.
    """

    images: Tensor
    boxes: Tensor
    landmarks: Tensor
    owners: Tensor
    ignored: Tensor
    ignored_owners: Tensor
    heights: Tensor

    @classmethod
    def of(cls, images: Tensor, labels: Sequence[LabelledPhoto]) -> "Batch":
        """Put images (B, 3, S, S) and their labels together; the labels go to the images' device."""

        def owners(counts: list[int]) -> Tensor:
            return torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))

        faces = (
            torch.from_numpy(np.concatenate([photo.boxes for photo in labels])),
            torch.from_numpy(np.concatenate([photo.landmarks.reshape(-1, 10) for photo in labels])),
            owners([len(photo.boxes) for photo in labels]),
            torch.from_numpy(np.concatenate([photo.ignored for photo in labels])),
            owners([len(photo.ignored) for photo in labels]),
            torch.from_numpy(np.concatenate([photo.heights for photo in labels])),
        )
        return cls(images, *(part.to(images.device) for part in faces))

    def to(self, device: torch.device) -> "Batch":
        """Move all tensors to a device."""
        return Batch(*(getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)))

    def normalised(self) -> Tensor:
        """Return the images as float32 minus the mean, channels last in memory."""
        mean = torch.tensor(BGR_MEAN, dtype=torch.float32, device=self.images.device).view(1, 3, 1, 1)
        return (self.images.float() - mean).contiguous(memory_format=torch.channels_last)


class _Epoch(Dataset[Batch]):
    """Whole batches as items, so that workers collate them."""

    def __init__(
        self,
        data: Mixture,
        seed: int,
        epoch: int,
        batch: int,
        sizes: tuple[int, ...],
        settings: AugmentSettings,
    ) -> None:
        self.data, self.key, self.settings = data, (seed, epoch), settings
        self.order = data.order(seed, epoch)
        self.steps = epoch_steps(len(data), batch, sizes)

    def __len__(self) -> int:
        return len(self.steps)

    def _sample(self, position: int, size: int) -> tuple[NDArray[np.uint8], LabelledPhoto]:
        rng = np.random.default_rng([*self.key, position])
        rows = self.data.sample(rng, self.order, position, self.settings.mosaic)
        if len(rows) > 1:
            return mosaic(rng, [self.data[row] for row in rows], size, self.settings)
        return augment(rng, *self.data[rows[0]], size, self.settings)

    def __getitem__(self, i: int) -> Batch:
        step = self.steps[i]
        samples = [self._sample(step.first + slot, step.size) for slot in range(step.count)]
        images, labels = zip(*samples, strict=True)
        return Batch.of(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2), labels)


def epoch_batches(
    data: Mixture,
    *,
    seed: int,
    epoch: int,
    batch: int,
    sizes: tuple[int, ...],
    augmentation: AugmentSettings,
    workers: int = 0,
    start: int = 0,
) -> Iterator[Batch]:
    """Iterate over one epoch's batches, from batch `start` on. What fills no batch at its end is left out."""
    epoch_data = _Epoch(data, seed, epoch, batch, sizes, augmentation)
    loader = DataLoader(
        torch.utils.data.Subset(epoch_data, range(start, len(epoch_data))),
        batch_size=None,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        prefetch_factor=4 if workers else None,
    )
    return iter(loader)
