"""Train a model: `python -m featherface_training.train --help`."""

import argparse
import json
import logging
import math
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from . import checkpoint
from .config import TrainSettings
from .data.loader import Batch, epoch_batches
from .data.packed import PackedDataset, pack
from .ema import AveragedModel
from .initialise import initialise_backbone
from .losses.distillation import distillation_loss
from .losses.matching import match
from .losses.multitask import multitask_loss
from .losses.priors import prior_tensor
from .models.featherface import FeatherFace, build_model

__all__ = ["Trainer", "main"]

log = logging.getLogger(__name__)


def _optimizer(model: FeatherFace, settings: TrainSettings) -> torch.optim.AdamW:
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    return torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": settings.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
    )


def learning_rate(settings: TrainSettings, step: int, total: int) -> float:
    """Return the rate of step `step` of `total`: linear warm-up, then a cosine to a hundredth."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    progress = (step - settings.warmup_steps) / max(1, total - settings.warmup_steps)
    return settings.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * min(1.0, progress))) / 2)


class Trainer:
    """One run: settings, data, model, its average, optimiser, and the folder that they resume from.

    Parameters
    ----------
    settings : TrainSettings
        What decides the result.
    data : PackedDataset
        Training photos.
    folder : Path
        Receives `last.pt`, `log.jsonl` and, every `keep_every` epochs, `epoch-NNN.pt`.
    device : torch.device
        CPU or CUDA.
    backbone : Path or None
        Starting weights of the backbone, see `initialise_backbone`.
    start : Path or None
        Checkpoint of the same model to start the whole network from, with a schedule of its own.
    teacher : FeatherFace or None
        Distil from this model.
    workers : int
        Loader processes.
    """

    def __init__(
        self,
        settings: TrainSettings,
        data: PackedDataset,
        folder: Path,
        device: torch.device,
        *,
        backbone: Path | None = None,
        start: Path | None = None,
        teacher: FeatherFace | None = None,
        workers: int = 0,
    ) -> None:
        self.settings, self.data, self.folder, self.device, self.workers = (
            settings,
            data,
            folder,
            device,
            workers,
        )
        self.steps_per_epoch = len(data) // settings.batch
        if self.steps_per_epoch == 0:
            raise ValueError(f"{len(data)} photos do not fill one batch of {settings.batch}: lower --batch")
        torch.manual_seed(settings.seed)
        last = folder / "last.pt"
        model = build_model(settings.model)
        if start is not None:
            model = checkpoint.load_model(start)[0].train()
            if model.name != settings.model:
                raise ValueError(f"{start} holds {model.name}, but the run trains {settings.model}")
        if backbone is not None and not last.exists():
            sample = next(self._batches(epoch=0, start=0)).normalised()
            initialise_backbone(model.backbone, backbone, sample)
        # channels last is half as fast again on CPUs and on tensor cores
        self.model = model.to(device, memory_format=torch.channels_last).train()
        self.averaged = AveragedModel(self.model, settings.ema_decay)
        self.optimizer = _optimizer(self.model, settings)
        self.teacher = None
        if teacher is not None:
            self.teacher = teacher.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)
        self.step = 0
        folder.mkdir(parents=True, exist_ok=True)
        if last.exists():
            self.step = checkpoint.resume(last, settings, self.model, self.averaged, self.optimizer, device)
            log.info("resumed %s at step %d", last, self.step)

    @property
    def total_steps(self) -> int:
        """Steps of the whole schedule."""
        return self.steps_per_epoch * self.settings.epochs

    def _batches(self, epoch: int, start: int) -> Iterator[Batch]:
        s = self.settings
        return epoch_batches(
            self.data,
            seed=s.seed,
            epoch=epoch,
            batch=s.batch,
            size=s.size,
            scales=s.scales,
            workers=self.workers,
            start=start,
        )

    def train_step(self, batch: Batch) -> dict[str, Tensor]:
        """Make one optimisation step and return its losses."""
        s = self.settings
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(s, self.step, self.total_steps)
        batch = batch.to(self.device)
        images = batch.normalised()
        priors = prior_tensor(s.size, s.size, self.device)
        matches = match(priors, batch.boxes, batch.owners, len(images))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=s.bf16):
            outputs = self.model(images)
            taught = None
            if self.teacher is not None:
                with torch.no_grad():
                    taught = self.teacher(images)
        losses = multitask_loss(outputs, priors, batch.boxes, batch.landmarks, matches, s.loss)
        total = (
            losses.classification + s.loss.box_weight * losses.box + s.loss.landmark_weight * losses.landmark
        )
        parts = {"classification": losses.classification, "box": losses.box, "landmark": losses.landmark}
        if taught is not None:
            parts["distillation"] = distillation_loss(outputs, taught, matches, s.distillation)
            total = total + parts["distillation"]
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), s.clip_norm)
        self.optimizer.step()
        self.step += 1
        self.averaged.update(self.model, self.step)
        return {name: value.detach() for name, value in parts.items()}

    def save(self, name: str = "last.pt") -> None:
        """Write a checkpoint into the run's folder."""
        checkpoint.save(
            self.folder / name, self.settings, self.step, self.model, self.averaged, self.optimizer
        )

    def run(self, *, save_every: int = 200, keep_every: int = 5, stop_after: int | None = None) -> None:
        """Train to the end of the schedule, or until `stop_after` steps of it are done.

        Parameters
        ----------
        save_every : int
            Steps between checkpoints.
        keep_every : int
            Epochs between checkpoints that stay.
        stop_after : int or None
            Stop early, for tests and for time-boxed sessions; the schedule stays that of the full run.
        """
        end = min(self.total_steps, stop_after or self.total_steps)
        bar = tqdm(total=self.total_steps, initial=self.step, unit="step", mininterval=5)
        with (self.folder / "log.jsonl").open("a") as journal:
            while self.step < end:
                epoch, start = divmod(self.step, self.steps_per_epoch)
                began, seen, sums = time.monotonic(), 0, {}
                for batch in self._batches(epoch, start):
                    for name, value in self.train_step(batch).items():
                        sums[name] = sums.get(name, 0.0) + value
                    seen += 1
                    bar.update()
                    if self.step % save_every == 0:
                        self.save()
                    if self.step >= end:
                        break
                rate = seen * self.settings.batch / (time.monotonic() - began)
                means = {name: round(float(value) / seen, 4) for name, value in sums.items()}
                bar.set_postfix(img_s=f"{rate:.0f}", **means)
                entry = {"epoch": epoch, "step": self.step, "images_per_second": round(rate, 1), **means}
                journal.write(json.dumps(entry) + "\n")
                journal.flush()
                if self.step % self.steps_per_epoch == 0 and (epoch + 1) % keep_every == 0:
                    self.save(f"epoch-{epoch + 1:03d}.pt")
        self.save()
        bar.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m featherface_training.train", description=__doc__)
    parser.add_argument("--wider", type=Path, required=True, help="WIDER FACE root, whole or partial")
    parser.add_argument("--labels", type=Path, required=True, help="train labels, RetinaFace label.txt[.gz]")
    parser.add_argument("--pack", type=Path, required=True, help="folder for the packed data set")
    parser.add_argument(
        "--run", type=Path, required=True, help="folder for checkpoints; resumes if there are any"
    )
    parser.add_argument("--settings", type=Path, help="JSON with training settings")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=JSON", help="override one setting")
    parser.add_argument("--backbone", type=Path, help="starting weights of the backbone (.tar, .pth, .onnx)")
    parser.add_argument("--start", type=Path, help="checkpoint to start the whole network from")
    parser.add_argument("--teacher", type=Path, help="checkpoint to distil from")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, help="CPU threads of the training process")
    parser.add_argument("--workers", type=int, default=0, help="loader processes")
    parser.add_argument(
        "--stop-after", type=int, metavar="STEPS", help="stop early; the schedule stays the same"
    )
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    args = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if args.threads:
        torch.set_num_threads(args.threads)
    settings = TrainSettings.from_dict(json.loads(args.settings.read_text()) if args.settings else {})
    overrides = {key: json.loads(value) for key, _, value in (item.partition("=") for item in args.set)}
    settings = TrainSettings.from_dict({**settings.to_dict(), **overrides})
    pack(args.wider, args.labels, args.pack)
    teacher = checkpoint.load_model(args.teacher)[0] if args.teacher else None
    trainer = Trainer(
        settings,
        PackedDataset(args.pack),
        args.run,
        torch.device(args.device),
        backbone=args.backbone,
        start=args.start,
        teacher=teacher,
        workers=args.workers,
    )
    trainer.run(stop_after=args.stop_after)


if __name__ == "__main__":
    main()
