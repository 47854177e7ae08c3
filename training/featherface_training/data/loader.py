"""Batches that depend on seed, epoch and position alone: a resumed run sees what it would have seen."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from .augment import BGR_MEAN, augment
from .packed import PackedDataset

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
    """

    images: Tensor
    boxes: Tensor
    landmarks: Tensor
    owners: Tensor

    def to(self, device: torch.device) -> "Batch":
        """Move all tensors to a device."""
        return Batch(
            *(t.to(device, non_blocking=True) for t in (self.images, self.boxes, self.landmarks, self.owners))
        )

    def normalised(self) -> Tensor:
        """Return the images as float32 minus the mean, channels last in memory."""
        mean = torch.tensor(BGR_MEAN, dtype=torch.float32, device=self.images.device).view(1, 3, 1, 1)
        return (self.images.float() - mean).contiguous(memory_format=torch.channels_last)


class _Epoch(Dataset[Batch]):
    """Whole batches as items, so that workers collate them."""

    def __init__(
        self, data: PackedDataset, seed: int, epoch: int, batch: int, size: int, scales: tuple[float, ...]
    ) -> None:
        self.data, self.key, self.batch, self.size, self.scales = data, (seed, epoch), batch, size, scales
        self.order = np.random.default_rng([seed, epoch]).permutation(len(data))

    def __len__(self) -> int:
        return len(self.order) // self.batch

    def __getitem__(self, i: int) -> Batch:
        images, boxes, landmarks, owners = [], [], [], []
        for slot in range(self.batch):
            position = i * self.batch + slot
            pixels, photo = self.data[int(self.order[position])]
            rng = np.random.default_rng([*self.key, position])
            image, box, landmark = augment(rng, pixels, photo.boxes, photo.landmarks, self.size, self.scales)
            images.append(image)
            boxes.append(box)
            landmarks.append(landmark.reshape(-1, 10))
            owners.append(np.full(len(box), slot, np.int64))
        return Batch(
            torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2),
            torch.from_numpy(np.concatenate(boxes)),
            torch.from_numpy(np.concatenate(landmarks)),
            torch.from_numpy(np.concatenate(owners)),
        )


def epoch_batches(
    data: PackedDataset,
    *,
    seed: int,
    epoch: int,
    batch: int,
    size: int,
    scales: tuple[float, ...],
    workers: int = 0,
    start: int = 0,
) -> Iterator[Batch]:
    """Iterate over one epoch's batches, from batch `start` on. The last, short batch is dropped."""
    epoch_data = _Epoch(data, seed, epoch, batch, size, scales)
    loader = DataLoader(
        torch.utils.data.Subset(epoch_data, range(start, len(epoch_data))),
        batch_size=None,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        prefetch_factor=4 if workers else None,
    )
    return iter(loader)
