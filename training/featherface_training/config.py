"""Settings of a training run: one frozen dataclass, stored in the checkpoint and in the model package."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from .data.augment import AugmentSettings
from .losses.distillation import DistillationSettings
from .losses.multitask import LossSettings
from .losses.ranking import RankingSettings
from .models.featherface import ModelName

__all__ = ["TrainSettings"]


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """What decides a run's result, given the data.

    Attributes
    ----------
    model : {"v1", "nano"}
    seed : int
    epochs : int
        Passes over the photos, one crop each.
    steps : int or None
        Length of the schedule in steps instead, so that runs with unlike epochs compare.
    sizes : tuple of int
        Sides of the crops in pixels (multiples of 32); steps cycle through them.
    batch : int
        Crops a step of the first size; other sizes get as many as have the same area.
    shares : dict of str to float
        Crops of each extra data set for each crop of WIDER FACE.
    fourfold : tuple of str
        Extra data sets of small photos: each of their samples shows four.
    augmentation : AugmentSettings
    learning_rate, weight_decay : float
        Of AdamW. Biases, BN and fusion weights don't decay.
    muon_rate : float
        Rate of Muon as a multiple of `learning_rate`: it moves the dense convolutions between the stem and
        the heads, see `featherface_training.optimisation`. At 0 AdamW moves these, too.
    warmup_steps : int
        Linear warm-up, then a cosine down to a hundredth.
    ema_decay : float
        Of the averaged weights that are evaluated and exported.
    clip_norm : float
        Largest norm of the gradient.
    bf16 : bool
        bfloat16 autocast (CUDA, and CPUs that have it).
    loss : LossSettings
    distillation : DistillationSettings
        Read only when a teacher is given.
    ranking : RankingSettings
    parts : tuple of str
        Modules to train, such as "heads.2"; the others keep their weights and their statistics. Empty: all.
    frozen_statistics : bool
        Normalise by the statistics of the starting weights, as in use, rather than by those of each batch:
        batches of few crops have others than whole pictures do.
    """

    model: ModelName = "nano"
    seed: int = 0
    epochs: int = 40
    steps: int | None = None
    batch: int = 16
    sizes: tuple[int, ...] = (320,)
    shares: dict[str, float] = field(default_factory=dict)
    fourfold: tuple[str, ...] = ()
    augmentation: AugmentSettings = field(default_factory=AugmentSettings)
    learning_rate: float = 2e-3
    weight_decay: float = 5e-4
    muon_rate: float = 0.0
    warmup_steps: int = 200
    ema_decay: float = 0.999
    clip_norm: float = 10.0
    bf16: bool = True
    loss: LossSettings = field(default_factory=LossSettings)
    distillation: DistillationSettings = field(default_factory=DistillationSettings)
    ranking: RankingSettings = field(default_factory=RankingSettings)
    parts: tuple[str, ...] = ()
    frozen_statistics: bool = False

    def __post_init__(self) -> None:
        if not self.sizes or any(size < 32 or size % 32 for size in self.sizes):
            raise ValueError(f"expected crop sizes that are multiples of 32, got {self.sizes}")
        for name in ("epochs", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} of at least 1, got {getattr(self, name)}")
        if self.muon_rate < 0:
            raise ValueError(f"expected muon_rate of at least 0, where AdamW moves all, got {self.muon_rate}")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON and checkpoints."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainSettings":
        """Rebuild from `to_dict`.

        Raises
        ------
        ValueError
            If a key is unknown.
        """
        values = dict(values)
        parts = {
            "loss": LossSettings,
            "distillation": DistillationSettings,
            "augmentation": AugmentSettings,
            "ranking": RankingSettings,
        }
        for name, kind in parts.items():
            if isinstance(values.get(name), dict):
                values[name] = _build(kind, values[name])
        built: TrainSettings = _build(cls, values)
        return built

    def overridden(self, values: Mapping[str, Any]) -> "TrainSettings":
        """Return settings in which some have other values, named as `loss.box` is.

        Raises
        ------
        ValueError
            If a key is unknown.
        """
        whole = self.to_dict()
        for key, value in values.items():
            *parents, name = key.split(".")
            inner = whole
            for parent in parents:
                inner = inner.setdefault(parent, {})
            if not isinstance(inner, dict):
                raise ValueError(f"unknown training settings: {key}")
            inner[name] = value
        return self.from_dict(whole)


def _build(kind: type[Any], values: dict[str, Any]) -> Any:
    unknown = set(values) - {f.name for f in fields(kind)}
    if unknown:
        raise ValueError(f"unknown training settings: {', '.join(sorted(unknown))}")
    # JSON knows no tuples
    return kind(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})
