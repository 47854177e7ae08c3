"""Export a checkpoint to ONNX: `python -m featherface_training.export --help`."""

import argparse
import os
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import onnxruntime
import torch

from .alignment import align_channels
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
    onnxruntime folds it when a session is made, as it does the padding of `align_channels`.

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
    # where gradients flow, some modules take other operators
    with torch.no_grad():
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
    exported = onnx.load(str(temporary))
    _restore_parameters(exported.graph, model)
    _fix_reshapes(exported.graph)
    align_channels(exported.graph)
    onnx.checker.check_model(exported, full_check=True)
    temporary.write_bytes(exported.SerializeToString())
    check_parity(model, temporary.read_bytes())
    os.replace(temporary, path)


def _restore_parameters(graph: onnx.GraphProto, model: FeatherFace) -> None:
    """Give every parameter its own initializer again, and shared modules one.

    PyTorch merges initializers of equal values (fresh BN layers, say) behind Identity nodes; the parameters
    could then no longer be counted.
    """
    owner: dict[int, str] = {}
    canonical: dict[str, str] = {}
    for name, tensor in [
        *model.named_parameters(remove_duplicate=False),
        *model.named_buffers(remove_duplicate=False),
    ]:
        canonical[name] = owner.setdefault(id(tensor), name)
    values = {t.name: t for t in graph.initializer}
    renamed: dict[str, str] = {}
    for node in [n for n in graph.node if n.op_type == "Identity"]:
        source, name = node.input[0], node.output[0]
        if source not in values or name not in canonical:
            continue
        renamed[name] = canonical[name]
        if canonical[name] not in values:
            copy = onnx.TensorProto()
            copy.CopyFrom(values[source])
            copy.name = canonical[name]
            graph.initializer.append(copy)
            values[copy.name] = copy
        graph.node.remove(node)
    for node in graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = renamed.get(name, name)


def _fix_reshapes(graph: onnx.GraphProto) -> None:
    """Replace the heads' computed target shapes (batch, -1, values) by the constant (0, -1, values).

    0 keeps the batch; what computed the shape falls away.
    """
    producers = {output: node for node in graph.node for output in node.output}
    for node in [n for n in graph.node if n.op_type == "Reshape"]:
        parts = producers[node.input[1]]
        if parts.op_type != "Concat" or len(parts.input) != 3:
            raise ExportError(f"expected {node.name} to reshape to (batch, -1, values)")
        last = producers[parts.input[2]]
        if last.op_type == "Unsqueeze":
            last = producers[last.input[0]]
        values = int(onnx.numpy_helper.to_array(last.attribute[0].t).reshape(-1)[0])
        shape = onnx.numpy_helper.from_array(np.array([0, -1, values]), f"{node.name}/shape")
        graph.initializer.append(shape)
        node.input[1] = shape.name
    while True:
        used = {name for n in graph.node for name in n.input} | {o.name for o in graph.output}
        dead = [n for n in graph.node if not used.intersection(n.output)]
        if not dead:
            return
        for node in dead:
            graph.node.remove(node)


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
