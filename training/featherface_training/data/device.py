"""Crops cut, resized and recoloured on the device, from photos that lie in its memory.

A GPU trains these small models faster than a CPU can prepare their crops. Where each crop lies, and how it is
recoloured, is decided by the same random numbers' scheme as in `loader`: by seed, epoch and position alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .augment import (
    BGR_MEAN,
    AugmentSettings,
    choose_angle,
    choose_square,
)
from .labels import join_labels, mirror_labels, place_labels, rotate_labels
from .loader import Batch
from .mixture import Mixture, epoch_steps
from .paste import Paste, choose_pastes
from .wider import LabelledPhoto

__all__ = ["DeviceCrops", "paste_on_device"]

# weights of blue, green and red in a grey value (ITU-R BT.601)
_GREY = (0.114, 0.587, 0.299)


@dataclass(frozen=True, slots=True)
class _Crop:
    """One tile: which bytes, which square of them, and its look."""

    offset: int
    height: int
    width: int
    left: int
    top: int
    side: int
    angle: float
    mirrored: bool
    saturation: float
    contrast: float
    brightness: float
    blur: float
    noise: float
    pastes: tuple[Paste, ...] = ()


class DeviceCrops:
    """Photos on a device, and the batches cut from them.

    Parameters
    ----------
    data : Mixture
        All its photos are copied to the device: about 2 MB for each of WIDER FACE's.
    device : torch.device
        Usually CUDA.
    """

    def __init__(self, data: Mixture, device: torch.device) -> None:
        self.data, self.device = data, device
        sizes = [len(pack.pixels) for pack in data.packs]
        self._starts = np.cumsum([0, *sizes[:-1]])
        self._pixels = torch.empty(sum(sizes), dtype=torch.uint8, device=device)
        for start, pack in zip(self._starts, data.packs, strict=True):
            # in parts, so that the copy needs no second place for the whole
            for first in range(0, len(pack.pixels), 1 << 28):
                part = torch.from_numpy(np.array(pack.pixels[first : first + (1 << 28)]))
                self._pixels[start + first : start + first + len(part)] = part.to(device)

    def batches(
        self,
        *,
        seed: int,
        epoch: int,
        batch: int,
        sizes: tuple[int, ...],
        augmentation: AugmentSettings,
        start: int = 0,
    ) -> Iterator[Batch]:
        """Iterate over one epoch's batches, from batch `start` on; see `epoch_batches`."""
        order = self.data.order(seed, epoch)
        for number, step in list(enumerate(epoch_steps(len(self.data), batch, sizes)))[start:]:
            tiles, labels = [], []
            for position in range(step.first, step.first + step.count):
                rng = np.random.default_rng([seed, epoch, position])
                rows = self.data.sample(rng, order, position, augmentation.mosaic)
                side = step.size if len(rows) == 1 else step.size // 2
                parts = [self._decide(rng, row, side, augmentation) for row in rows]
                tiles.append([crop for crop, _ in parts])
                moved = [label for _, label in parts]
                labels.append(moved[0] if len(moved) == 1 else join_labels(moved, side))
            generator = torch.Generator(self.device).manual_seed(hash((seed, epoch, number)) % (1 << 63))
            yield Batch.of(self._images(tiles, step.size, generator), labels)

    def _decide(
        self, rng: np.random.Generator, row: np.ndarray, size: int, settings: AugmentSettings
    ) -> tuple[_Crop, LabelledPhoto]:
        """Draw everything about one tile of `size` pixels, and move its labels there."""
        pack, index = row.tolist()
        entry, photo = self.data.packs[pack].index[index], self.data.packs[pack].labels(index)
        height, width = entry["height"], entry["width"]
        side, left, top = choose_square(rng, height, width, photo.boxes, settings, size)
        angle = choose_angle(rng, settings)
        rotated = rotate_labels(photo, left, top, side, angle)
        labels = place_labels(rotated, left, top, side, size / side, size)
        mirrored = bool(rng.random() < 0.5)
        grey, coloured, toned = rng.random(3) < (0.08, 0.5, 0.6)
        degraded = rng.random() < settings.degrade
        blurred = bool(rng.random() < 0.5)
        labels = mirror_labels(labels, size) if mirrored else labels
        saturation = 0.0 if grey else float(rng.uniform(0.5, 1.5)) if coloured else 1.0
        contrast = float(rng.uniform(0.6, 1.4)) if toned else 1.0
        brightness = float(rng.uniform(-32, 32)) if toned else 0.0
        blur = float(rng.uniform(0.4, 1.8)) if degraded and blurred else 0.0
        noise = float(rng.uniform(2, 10)) if degraded and not blurred else 0.0
        pastes, labels = choose_pastes(rng, labels, size, settings.paste)
        crop = _Crop(
            int(self._starts[pack]) + entry["offset"],
            height,
            width,
            left,
            top,
            side,
            angle,
            mirrored,
            saturation,
            contrast,
            brightness,
            blur,
            noise,
            tuple(pastes),
        )
        return crop, labels

    def _images(self, tiles: list[list[_Crop]], size: int, generator: torch.Generator) -> Tensor:
        """Return a batch (B, 3, S, S), uint8, of samples of one tile or of four."""
        images = torch.empty((len(tiles), 3, size, size), dtype=torch.uint8, device=self.device)
        whole = [i for i, parts in enumerate(tiles) if len(parts) == 1]
        fourfold = [i for i, parts in enumerate(tiles) if len(parts) == 4]
        if whole:
            images[whole] = self._look([tiles[i][0] for i in whole], size, generator)
        if fourfold:
            half = size // 2
            quarters = self._look([crop for i in fourfold for crop in tiles[i]], half, generator)
            rows = quarters.view(-1, 2, 2, 3, half, half).permute(0, 3, 1, 4, 2, 5)
            images[fourfold] = rows.reshape(-1, 3, size, size)
        return images

    def _column(self, crops: list[_Crop], name: str, axes: int) -> Tensor:
        """Return one attribute of all crops, shape (N, 1, ...) of so many axes."""
        values = torch.tensor([getattr(crop, name) for crop in crops], device=self.device)
        return values.view(-1, *[1] * (axes - 1))

    def _look(self, crops: list[_Crop], size: int, generator: torch.Generator) -> Tensor:
        """Cut, resize and recolour: (N, 3, S, S), uint8."""
        column = partial(self._column, crops, axes=4)
        image = self._cut(crops, size)
        grey = (image * torch.tensor(_GREY, device=self.device).view(1, 3, 1, 1)).sum(1, keepdim=True)
        image = grey + (image - grey) * column("saturation")
        image = image * column("contrast") + column("brightness")
        blur = column("blur")
        if bool((blur > 0).any()):
            reach = torch.arange(-4, 5, device=self.device, dtype=torch.float32)
            kernel = torch.exp(-(reach**2) / (2 * blur.view(-1, 1).clamp(min=0.05) ** 2))
            kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(3, 0)
            flat = image.reshape(1, -1, size, size)
            for shape, pad in (((-1, 1, 1, 9), (4, 4, 0, 0)), ((-1, 1, 9, 1), (0, 0, 4, 4))):
                padded = F.pad(flat, pad, mode="replicate")
                flat = F.conv2d(padded, kernel.view(*shape), groups=len(kernel))
            image = flat.view_as(image)
        noise = column("noise")
        if bool((noise > 0).any()):
            image = image + noise * torch.randn(image.shape, generator=generator, device=self.device)
        for one, crop in zip(image, crops, strict=True):
            paste_on_device(one, crop.pastes)
        return image.round().clamp(0, 255).to(torch.uint8)

    def _cut(self, crops: list[_Crop], size: int) -> Tensor:
        """Sample each crop's square bilinearly, at four points a pixel where it shrinks: (N, 3, S, S)."""
        column = partial(self._column, crops, axes=3)
        frame = tuple(column(name) for name in ("offset", "height", "width"))
        step = column("side") / size
        # distances from the crop's centre, in its pixels
        away = torch.arange(size, device=self.device) - (size - 1) / 2
        across = torch.where(column("mirrored"), -away, away)
        down = away.view(1, -1, 1)
        middle_x = column("left") + column("side") / 2 - 0.5
        middle_y = column("top") + column("side") / 2 - 0.5
        cosine, sine = column("angle").cos(), column("angle").sin()
        # without a rotation columns and rows stay apart: a line of places instead of a plane
        rotated = any(crop.angle for crop in crops)
        # a crop that grows is sampled at its pixels' centres alone
        spread = (step > 1).float()
        shifts = (-0.25, 0.25) if max(crop.side for crop in crops) > size else (0.0,)
        total = torch.zeros((len(crops), 3, size, size), device=self.device)
        for dy in shifts:
            for dx in shifts:
                x, y = (across + dx * spread) * step, (down + dy * spread) * step
                if rotated:
                    x, y = x * cosine + y * sine, y * cosine - x * sine
                total += self._bilinear(*frame, middle_x + x, middle_y + y)
        return total / len(shifts) ** 2

    def _bilinear(self, offset: Tensor, height: Tensor, width: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Read the photos at columns x (N, 1 or S, S) and rows y (N, S, 1 or S); outside is the mean."""
        mean = torch.tensor(BGR_MEAN, dtype=torch.float32, device=self.device)
        channels = torch.arange(3, device=self.device)
        total = torch.zeros((*y.shape[:2], x.shape[2], 3), device=self.device)
        above, left = y.floor(), x.floor()
        for row, row_weight in ((above, above + 1 - y), (above + 1, y - above)):
            for col, col_weight in ((left, left + 1 - x), (left + 1, x - left)):
                r, c = row.long(), col.long()
                inside = (r >= 0) & (r < height) & (c >= 0) & (c < width)
                place = (r.clamp(min=0).minimum(height - 1) * width + c.clamp(min=0).minimum(width - 1)) * 3
                values = self._pixels[(offset + place).unsqueeze(-1) + channels].float()
                values = torch.where(inside.unsqueeze(-1), values, mean)
                total += values * (row_weight * col_weight).unsqueeze(-1)
        return total.permute(0, 3, 1, 2)


def paste_on_device(image: Tensor, pastes: Sequence[Paste]) -> None:
    """Put a crop's copies into it, (3, S, S), float, as `paste` does on the CPU."""
    whole = image.clone() if pastes else image
    for one in pastes:
        source, target = one.source, one.target
        width, height = target.size
        patch = whole[None, :, source.top : source.bottom, source.left : source.right]
        copy = F.interpolate(patch, (height, width), mode="area")[0]
        behind = image[:, target.top : target.bottom, target.left : target.right]
        behind += (copy - behind) * torch.from_numpy(one.mask()).to(image.device)
