"""One training run: its steps, its checkpoints, its journal."""

import json
import logging
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from . import checkpoint
from .config import TrainSettings
from .data.device import DeviceCrops
from .data.loader import Batch, epoch_batches
from .data.mixture import Mixture, epoch_steps
from .ema import AveragedModel
from .initialise import initialise_backbone
from .losses.answers import answers_loss
from .losses.distillation import FeatureAdapter, distillation_loss, focus_on_faces, margins
from .losses.matching import Predicted, match
from .losses.multitask import decode_boxes, multitask_loss
from .losses.priors import prior_tensor
from .losses.ranking import RankingLoss
from .models.featherface import build_model
from .optimisation import freeze_statistics, learning_rate, make_optimizer, train_only
from .teachers import Ensemble, Lesson
from .teachers.ahead import ahead

__all__ = ["Trainer"]

log = logging.getLogger(__name__)


class Trainer:
    """One run: settings, data, model, its average, optimiser, and the folder that they resume from.

    Parameters
    ----------
    settings : TrainSettings
        What decides the result.
    data : Mixture
        Training photos.
    folder : Path
        Receives `last.pt`, `log.jsonl` and, every `keep_every` epochs, `epoch-NNN.pt`.
    device : torch.device
        CPU or CUDA.
    backbone : Path or None
        Starting weights of the backbone, see `initialise_backbone`; taken after those of `start`.
    start : Path or None
        Checkpoint of the same model to start the whole network from, with a schedule of its own.
    teachers : sequence of Path
        Distil from the mean of these, see `Ensemble`.
    device_crops : bool
        Cut crops on the device, from photos in its memory, see `DeviceCrops`.
    workers : int
        Loader processes, where crops are cut on the CPU.
    teacher_threads : int
        Ask the teachers about the batches to come in as many threads; 0 asks in the step itself. The
        result is the same.
    """

    def __init__(
        self,
        settings: TrainSettings,
        data: Mixture,
        folder: Path,
        device: torch.device,
        *,
        backbone: Path | None = None,
        start: Path | None = None,
        teachers: Sequence[Path] = (),
        device_crops: bool = False,
        workers: int = 0,
        teacher_threads: int = 0,
    ) -> None:
        self.teacher_threads = teacher_threads
        self.settings, self.data, self.folder, self.device, self.workers = (
            settings,
            data,
            folder,
            device,
            workers,
        )
        self.steps_per_epoch = len(epoch_steps(len(data), settings.batch, settings.sizes))
        if self.steps_per_epoch == 0:
            raise ValueError(f"{len(data)} photos do not fill one batch of {settings.batch}: lower `batch`")
        torch.manual_seed(settings.seed)
        self.crops = DeviceCrops(data, device) if device_crops else None
        last = folder / "last.pt"
        model = build_model(settings.model)
        self.history: list[dict[str, Any]] = []
        if start is not None:
            model, before = checkpoint.load_model(start)
            model.train()
            self.history = checkpoint.stages(before)
            if model.name != settings.model:
                raise ValueError(f"{start} holds {model.name}, but the run trains {settings.model}")
        if backbone is not None and not last.exists():
            sample = next(self._batches(epoch=0, start=0)).normalised()
            initialise_backbone(model.backbone, backbone, sample)
        # channels last is half as fast again on CPUs and on tensor cores
        self.model = model.to(device, memory_format=torch.channels_last).train()
        if settings.parts:
            train_only(self.model, settings.parts)
        if settings.frozen_statistics:
            if start is None and not last.exists():
                raise ValueError("frozen_statistics keeps those of a trained network: give one to start from")
            freeze_statistics(self.model)
        self.averaged = AveragedModel(self.model, settings.ema_decay)
        d = settings.distillation
        features = d.feature_teachers if d.feature_weight else None
        self.teacher = None
        if teachers:
            self.teacher = Ensemble(
                teachers,
                device,
                features,
                d.enlarge,
                answers=d.answers_weight > 0,
                large_answers=d.large_answers_from > 0,
                mirror=d.mirror,
            )
        self.adapter = None
        if self.teacher is not None and d.feature_weight:
            if not self.teacher.channels:
                raise ValueError(
                    "feature_weight needs a FeatherFace among the teachers: set it to 0, add one, or take "
                    'the levels of others by feature_teachers="all"'
                )
            self.adapter = FeatureAdapter(self.model.width, self.teacher.channels).to(device)
            if d.keep_adapter and not last.exists():
                checkpoint.load_adapter(start, self.adapter)
        self.ranking = RankingLoss(settings.ranking) if settings.ranking.weight else None
        self.optimizer = make_optimizer(self.model, self.adapter, settings)
        self.step = 0
        folder.mkdir(parents=True, exist_ok=True)
        if last.exists():
            self.step = checkpoint.resume(
                last,
                settings,
                self.model,
                self.averaged,
                self.optimizer,
                device,
                self.adapter,
                self.ranking,
            )
            log.info("resumed %s at step %d", last, self.step)

    @property
    def total_steps(self) -> int:
        """Steps of the whole schedule."""
        return self.settings.steps or self.steps_per_epoch * self.settings.epochs

    def _batches(self, epoch: int, start: int) -> Iterator[Batch]:
        s = self.settings
        if self.crops is not None:
            batches = self.crops.batches
        else:
            batches = partial(epoch_batches, self.data, workers=self.workers)
        return batches(
            seed=s.seed,
            epoch=epoch,
            batch=s.batch,
            sizes=s.sizes,
            augmentation=s.augmentation,
            start=start,
        )

    def _ask(self, batch: Batch) -> Lesson | None:
        if self.teacher is None:
            return None
        # autocast holds for one thread only
        with self._autocast():
            return self.teacher(batch.normalised())

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.bf16)

    def _taught(self, epoch: int, start: int) -> Iterator[tuple[Batch, Lesson | None]]:
        batches = (batch.to(self.device) for batch in self._batches(epoch, start))
        if self.teacher is None or not self.teacher_threads:
            return ((batch, self._ask(batch)) for batch in batches)
        # All threads share the weights that autocast keeps cast, and who leaves a thread's outermost block
        # drops them: in the middle of a step, the gradients of shared weights would be summed in another way.
        # So these threads never leave it.
        return ahead(self._ask, batches, self.teacher_threads, self._autocast().__enter__)

    def train_step(self, batch: Batch, lesson: Lesson | None) -> dict[str, Tensor]:
        """Make one optimisation step on a batch, and on what teachers say about it; return its losses."""
        s = self.settings
        self.optimizer.set_rate(learning_rate(s, self.step, self.total_steps))
        images = batch.normalised()
        side = images.shape[-1]
        priors = prior_tensor(side, side, self.device)
        parts: dict[str, Tensor] = {}
        with self._autocast():
            levels = self.model.features(images)
            outputs = self.model.predict(levels)
        corners = decode_boxes(outputs[1].float(), priors)
        said = None
        if s.loss.matching == "simota":
            said = Predicted(margins(outputs).detach(), corners.detach())
        matches = match(
            priors,
            batch.boxes,
            batch.owners,
            len(images),
            predicted=said,
            ignored=batch.ignored,
            ignored_owners=batch.ignored_owners,
            strategy=s.loss.matching,
            outside=s.loss.outside,
            spare=s.loss.spare,
        )
        with self._autocast():
            if lesson is not None:
                d = s.distillation
                if lesson.outputs is not None:
                    parts["distillation"] = distillation_loss(outputs, corners, lesson.outputs, matches, d)
                if lesson.found is not None:
                    parts["answers"] = answers_loss(
                        outputs,
                        corners,
                        lesson.found,
                        matches,
                        batch.boxes,
                        batch.owners,
                        d,
                        lesson.found_large,
                    )
                if self.adapter is not None:
                    focus = None
                    if d.feature_focus:
                        focus = focus_on_faces(outputs, lesson.outputs, matches, levels)
                    parts["features"] = self.adapter(levels, lesson.levels, focus, d.feature_focus)
        losses = multitask_loss(outputs, priors, batch.boxes, batch.landmarks, matches, s.loss)
        total = (
            s.loss.classification_weight * losses.classification
            + s.loss.box_weight * losses.box
            + s.loss.landmark_weight * losses.landmark
        )
        if self.ranking is not None:
            parts["ranking"] = self.ranking(margins(outputs), corners, batch)
            total = total + parts["ranking"]
        if "distillation" in parts:
            total = total + parts["distillation"]
        if "answers" in parts:
            total = total + s.distillation.answers_weight * parts["answers"]
        if "features" in parts:
            total = total + s.distillation.feature_weight * parts["features"]
        parts |= {"classification": losses.classification, "box": losses.box, "landmark": losses.landmark}
        self.optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), s.clip_norm)
        self.optimizer.step()
        self.step += 1
        self.averaged.update(self.model, self.step)
        return {name: value.detach() for name, value in parts.items()}

    def save(self, name: str = "last.pt") -> None:
        """Write a checkpoint into the run's folder."""
        checkpoint.save(
            self.folder / name,
            self.settings,
            self.step,
            self.model,
            self.averaged,
            self.optimizer,
            self.adapter,
            self.history,
            self.ranking,
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
        bar = tqdm(total=self.total_steps, initial=self.step, unit="step", mininterval=5, disable=None)
        with (self.folder / "log.jsonl").open("a") as journal:
            while self.step < end:
                epoch, start = divmod(self.step, self.steps_per_epoch)
                began, seen, crops, sums = time.monotonic(), 0, 0, {}
                for batch, lesson in self._taught(epoch, start):
                    for name, value in self.train_step(batch, lesson).items():
                        sums[name] = sums.get(name, 0.0) + value
                    seen += 1
                    crops += len(batch.images)
                    bar.update()
                    if self.step % save_every == 0:
                        self.save()
                        # the bar shows on terminals only
                        rate = crops / (time.monotonic() - began)
                        log.info("step %d of %d saved, %.1f crops/s", self.step, self.total_steps, rate)
                    if self.step >= end:
                        break
                rate = crops / (time.monotonic() - began)
                means = {name: round(float(value) / seen, 4) for name, value in sums.items()}
                bar.set_postfix(img_s=f"{rate:.0f}", **means)
                entry = {"epoch": epoch, "step": self.step, "images_per_second": round(rate, 1), **means}
                journal.write(json.dumps(entry) + "\n")
                journal.flush()
                if self.step % self.steps_per_epoch == 0 and (epoch + 1) % keep_every == 0:
                    self.save(f"epoch-{epoch + 1:03d}.pt")
        self.save()
        bar.close()
