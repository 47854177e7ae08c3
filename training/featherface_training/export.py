"""Export a checkpoint to ONNX: `python -m featherface_training.export --help`."""

import argparse
import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

from .checkpoint import load_model
from .models.featherface import FeatherFace

__all__ = ["OPSET", "OUTPUT_NAMES", "ExportError", "check_parity", "export_onnx", "main"]

# 17: the oldest opset with everything we use; every onnxruntime, TensorRT and browser runtime of the last
# years reads it, and newer ones only change operators that we don't have
OPSET = 17
OUTPUT_NAMES = ("classifications", "bbox_regressions", "landmarks")


class ExportError(RuntimeError):
    """The exported graph does not compute what the model computes."""


def export_onnx(model: FeatherFace, path: Path) -> None:
    """Write the canonical graph: BN kept apart from its convolutions, every axis but the channels dynamic.

    Batch normalisation stays unfolded so that the trainable parameters can be counted from the file;
    onnxruntime folds it when a session is made.

    Parameters
    ----------
    model : FeatherFace
        In evaluation mode, on the CPU.
    path : Path
        Written whole or not at all.

    Raises
    ------
    ExportError
        If the result is not a valid graph or differs from PyTorch by more than 1e-4.
    """
    temporary = path.with_suffix(".onnx.tmp")
    model = model.cpu().float().eval()
    torch.onnx.export(
        model,
        (torch.randn(2, 3, 96, 128),),
        str(temporary),
        input_names=["input"],
        output_names=list(OUTPUT_NAMES),
        dynamic_axes={
            "input": {0: "batch", 2: "height", 3: "width"},
            **{name: {0: "batch", 1: "priors"} for name in OUTPUT_NAMES},
        },
        opset_version=OPSET,
        # folding would merge BN into convolutions and constants into weights: the count would be lost
        training=torch.onnx.TrainingMode.PRESERVE,
        do_constant_folding=False,
        dynamo=False,
    )
    graph = onnx.load(str(temporary))
    onnx.checker.check_model(graph, full_check=True)
    check_parity(model, temporary.read_bytes())
    os.replace(temporary, path)


def check_parity(model: FeatherFace, data: bytes, tolerance: float = 1e-4) -> float:
    """Compare the graph with PyTorch over several shapes and batches, and return the largest difference.

    Raises
    ------
    ExportError
        If it is above `tolerance`.
    """
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    worst = 0.0
    for batch, height, width in ((1, 320, 320), (2, 480, 640), (3, 96, 352)):
        x = rng.uniform(-123, 151, (batch, 3, height, width)).astype(np.float32)
        with torch.no_grad():
            expected = model(torch.from_numpy(x))
        for ours, theirs in zip(session.run(list(OUTPUT_NAMES), {"input": x}), expected, strict=True):
            worst = max(worst, float(np.abs(ours - theirs.numpy()).max()))
    if worst > tolerance:
        raise ExportError(f"the graph differs from PyTorch by {worst:.2e}, more than {tolerance:.0e}")
    return worst


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m featherface_training.export", description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("onnx", type=Path)
    args = parser.parse_args(arguments)
    model, _ = load_model(args.checkpoint)
    export_onnx(model, args.onnx)
    print(f"{args.onnx}: {args.onnx.stat().st_size} bytes, opset {OPSET}, equals PyTorch within 1e-4")


if __name__ == "__main__":
    main()
