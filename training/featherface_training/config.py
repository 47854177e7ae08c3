"""Settings of a training run: one frozen dataclass, stored in the checkpoint and in the model package."""

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from .losses.distillation import DistillationSettings
from .losses.multitask import LossSettings
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
    batch, size : int
        Crops a step, and their side in pixels (a multiple of 32).
    scales : tuple of float
        Sides of the crops, as multiples of a photo's short side.
    learning_rate, weight_decay : float
        Of AdamW. Biases, BN and fusion weights don't decay.
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
    """

    model: ModelName = "nano"
    seed: int = 0
    epochs: int = 40
    batch: int = 16
    size: int = 320
    scales: tuple[float, ...] = (0.3, 0.45, 0.6, 0.8, 1.0, 1.3)
    learning_rate: float = 2e-3
    weight_decay: float = 5e-4
    warmup_steps: int = 200
    ema_decay: float = 0.999
    clip_norm: float = 10.0
    bf16: bool = True
    loss: LossSettings = field(default_factory=LossSettings)
    distillation: DistillationSettings = field(default_factory=DistillationSettings)

    def __post_init__(self) -> None:
        if self.size % 32:
            raise ValueError(f"expected a crop size that is a multiple of 32, got {self.size}")
        for name in ("epochs", "batch", "size"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} of at least 1, got {getattr(self, name)}")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON and checkpoints."""
        return {**asdict(self), "scales": list(self.scales)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainSettings":
        """Rebuild from `to_dict`.

        Raises
        ------
        ValueError
            If a key is unknown.
        """
        unknown = set(values) - {f.name for f in fields(cls)}
        if unknown:
            raise ValueError(f"unknown training settings: {', '.join(sorted(unknown))}")
        values = dict(values)
        if "scales" in values:
            values["scales"] = tuple(values["scales"])
        if isinstance(values.get("loss"), dict):
            values["loss"] = LossSettings(**values["loss"])
        if isinstance(values.get("distillation"), dict):
            values["distillation"] = DistillationSettings(**values["distillation"])
        return cls(**values)
