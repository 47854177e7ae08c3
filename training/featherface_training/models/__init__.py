"""FeatherFace V1 and Nano in PyTorch."""

from .featherface import EXPECTED_PARAMETERS, FeatherFace, build_model, count_parameters

__all__ = ["EXPECTED_PARAMETERS", "FeatherFace", "build_model", "count_parameters"]
