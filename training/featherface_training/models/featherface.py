"""FeatherFace V1 and Nano (Kim et al., Electronics 2025, 14(3), 517), built part by part and counted."""

from typing import Literal

import torch
from torch import Tensor, nn

from .attention import CBAM, SpatialGate
from .backbone import MobileNetV1Quarter
from .bifpn import NanoBiFPNCell, V1BiFPNCell
from .context import GroupedSSH, ShuffledContext
from .heads import LevelHead

__all__ = ["EXPECTED_PARAMETERS", "FeatherFace", "ModelName", "build_model", "count_parameters"]

ModelName = Literal["v1", "nano"]

EXPECTED_PARAMETERS: dict[str, dict[str, int]] = {
    "v1": {
        "backbone": 213_072,
        "backbone_attention": 3_956,
        "bifpn": 113_610,
        "fused_attention": 969,
        "context": 148_296,
        "heads": 7_200,
        "total": 487_103,
    },
    "nano": {
        "backbone": 213_072,
        "backbone_attention": 5_732,
        "bifpn": 38_662,
        "fused_attention": 1_636,
        "context": 26_496,
        "heads": 58_656,
        "total": 344_254,
    },
}


class FeatherFace(nn.Module):
    """Backbone, attention, BiFPN, attention, context and heads over strides 8, 16 and 32.

    Parameters
    ----------
    name : {"v1", "nano"}
        Which of the two models.

    Raises
    ------
    AssertionError
        If a part does not have exactly the parameters of `EXPECTED_PARAMETERS`.
    """

    def __init__(self, name: ModelName) -> None:
        super().__init__()
        self.name = name
        self.width = 74 if name == "v1" else 64
        self.backbone = MobileNetV1Quarter()
        channels = self.backbone.out_channels
        if name == "v1":
            width = 74
            self.backbone_attention = nn.ModuleList(
                CBAM(c, c // 48, bias=True, spatial=SpatialGate()) for c in channels
            )
            self.bifpn = nn.Sequential(V1BiFPNCell(width, channels), V1BiFPNCell(width))
            self.fused_attention = nn.ModuleList(
                CBAM(width, width // 48, bias=True, spatial=SpatialGate()) for _ in channels
            )
            self.context = nn.ModuleList(ShuffledContext(width) for _ in channels)
            self.heads = nn.ModuleList(LevelHead(width) for _ in channels)
        elif name == "nano":
            width = 64
            early, late = SpatialGate(), SpatialGate()
            self.backbone_attention = nn.ModuleList(
                CBAM(c, max(c // 32, 4), bias=False, spatial=early) for c in channels
            )
            self.bifpn = nn.Sequential(NanoBiFPNCell(width, channels), NanoBiFPNCell(width))
            self.fused_attention = nn.ModuleList(
                CBAM(width, max(width // 32, 4), bias=False, spatial=late) for _ in channels
            )
            self.context = nn.ModuleList(GroupedSSH(width) for _ in channels)
            self.heads = nn.ModuleList(LevelHead(width, stem=32) for _ in channels)
        else:
            raise ValueError(f"expected the model 'v1' or 'nano', got {name!r}")
        counts = count_parameters(self)
        assert counts == EXPECTED_PARAMETERS[name], f"{name} has {counts}, not {EXPECTED_PARAMETERS[name]}"

    def features(self, x: Tensor) -> list[Tensor]:
        """Return the three levels that the heads see."""
        levels = [attend(f) for attend, f in zip(self.backbone_attention, self.backbone(x), strict=True)]
        levels = self.bifpn(levels)
        levels = [attend(f) for attend, f in zip(self.fused_attention, levels, strict=True)]
        return [context(f) for context, f in zip(self.context, levels, strict=True)]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Detect.

        Parameters
        ----------
        x : Tensor, shape (N, 3, H, W), float
            BGR, 0..255 minus (104, 117, 123); H and W multiples of 32.

        Returns
        -------
        classifications : Tensor, shape (N, P, 2)
            Logits of background and face.
        bbox_regressions : Tensor, shape (N, P, 4)
            Encoded boxes.
        landmarks : Tensor, shape (N, P, 10)
            Encoded landmarks.
        """
        return self.predict(self.features(x))

    def predict(self, levels: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Run the heads on what `features` returned; see `forward` for the outputs."""
        outputs = [head(f) for head, f in zip(self.heads, levels, strict=True)]
        classifications, boxes, landmarks = zip(*outputs, strict=True)
        return torch.cat(classifications, 1), torch.cat(boxes, 1), torch.cat(landmarks, 1)


def count_parameters(model: FeatherFace) -> dict[str, int]:
    """Count the trainable parameters of each part and in total (shared ones once)."""
    parts = ("backbone", "backbone_attention", "bifpn", "fused_attention", "context", "heads")
    counts = {part: sum(p.numel() for p in getattr(model, part).parameters()) for part in parts}
    return {**counts, "total": sum(p.numel() for p in model.parameters())}


def build_model(name: ModelName) -> FeatherFace:
    """Build a model with fresh weights."""
    return FeatherFace(name)
