"""Static INT8 quantisation of an exported model (QDQ format), calibrated on training photos."""

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from .data.augment import BGR_MEAN, AugmentSettings, augment
from .data.packed import PackedDataset

__all__ = ["quantize"]

# MobileNetV1-0.25: one convolution, then five depthwise-separable blocks of two
_FIRST_STAGE = 11
# percent of an activation's values that its integers reach: at 99.99 what was cut is what faces excite, and
# both models were less sure of them
_PERCENTILE = 99.999

log = logging.getLogger(__name__)


class _Photos(CalibrationDataReader):
    """Crops at the scales of inference, one a time."""

    def __init__(self, data: PackedDataset, count: int, size: int) -> None:
        self._samples = self._draw(data, count, size)

    @staticmethod
    def _draw(data: PackedDataset, count: int, size: int) -> Iterator[dict[str, NDArray[np.float32]]]:
        rng = np.random.default_rng(0)
        for i in rng.choice(len(data), min(count, len(data)), replace=False):
            pixels, photo = data[int(i)]
            image, _ = augment(rng, pixels, photo, size, AugmentSettings((0.6, 1.0, 1.3)))
            yield {"input": (image.transpose(2, 0, 1)[None] - np.float32(BGR_MEAN).reshape(1, 3, 1, 1))}

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self._samples, None)


def _head_convolutions(model: onnx.ModelProto) -> list[str]:
    """Name the convolutions that write the outputs: their small errors move boxes and order scores."""
    producers = {output: node for node in model.graph.node for output in node.output}
    names: list[str] = []
    stack = [o.name for o in model.graph.output]
    while stack:
        node = producers.get(stack.pop())
        if node is None:
            continue
        if node.op_type == "Conv":
            names.append(node.name)
        else:
            stack.extend(node.input)
    return names


def _spared_convolutions(model: onnx.ModelProto) -> list[str]:
    """Name the depthwise convolutions and all of the backbone's first stage.

    Depthwise ones have few weights a channel to average rounding errors over, and integers hardly speed them
    up; the first stage's maps have few channels whose ranges differ most.
    """
    shapes = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    depthwise = [
        node.name for node in convolutions if shapes[node.input[1]][1] == 1 < shapes[node.input[1]][0]
    ]
    return [*(node.name for node in convolutions[:_FIRST_STAGE]), *depthwise]


def _gate_convolutions(model: onnx.ModelProto) -> list[str]:
    """Name CBAM's convolutions: they cost next to nothing, and an error there scales whole maps."""
    shapes = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    producers = {output: node for node in model.graph.node for output in node.output}
    names: list[str] = []
    for node in model.graph.node:
        if node.op_type != "Conv":
            continue
        before = producers.get(node.input[0])
        while before is not None and before.op_type == "Relu":
            before = producers.get(before.input[0])
        pooled = before is not None and before.op_type in ("ReduceMean", "ReduceMax")
        hidden = before is not None and before.name in names
        if pooled or hidden or list(shapes[node.input[1]][2:]) == [7, 7]:
            names.append(node.name)
    return names


def _spread_groups(model: onnx.ModelProto) -> None:
    """Make quantised grouped convolutions dense, in place, by weights of zero between the groups.

    onnxruntime multiplies integers group by group, and Nano's groups have 4 to 16 channels; one product with
    four times as many channels takes less time. Sums of integers are exact, so that the results are the same
    to the last bit.
    """
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    producers = {output: node for node in model.graph.node for output in node.output}
    for node in model.graph.node:
        group = next((a for a in node.attribute if a.name == "group"), None)
        scaled = producers.get(node.input[1]) if node.op_type == "Conv" else None
        if group is None or group.i == 1 or scaled is None or scaled.op_type != "DequantizeLinear":
            continue
        grouped, zero = (onnx.numpy_helper.to_array(weights[scaled.input[i]]) for i in (0, 2))
        out, into = grouped.shape[0] // group.i, grouped.shape[1]
        shape = (grouped.shape[0], into * group.i, *grouped.shape[2:])
        dense = np.broadcast_to(zero.reshape(-1, 1, 1, 1), shape).copy()
        for i in range(group.i):
            rows = slice(i * out, (i + 1) * out)
            dense[rows, i * into : (i + 1) * into] = grouped[rows]
        weights[scaled.input[0]].CopyFrom(onnx.numpy_helper.from_array(dense, scaled.input[0]))
        group.i = 1


def quantize(source: Path, target: Path, data: PackedDataset, *, photos: int = 128, size: int = 416) -> None:
    """Quantise what is convolved after a canonical model's first stage, not depthwise, CBAM's and the heads'.

    Weights are signed per channel, activations unsigned: what CPUs with VNNI multiply natively. Weights have
    7 bits: with 8 the sums of CPUs without VNNI, of 16 bits, saturate, and the same bytes find other faces
    there. Activations are clipped at a percentile: their rarest extremes would coarsen all others' steps.

    Parameters
    ----------
    source, target : Path
        The fp32 model, BN unfolded; the int8 model, BN folded.
    data : PackedDataset
        Training photos.
    photos, size : int
        How many crops to calibrate on, and their side in pixels.
    """
    with tempfile.TemporaryDirectory() as folder:
        folded = Path(folder) / "folded.onnx"
        quant_pre_process(str(source), str(folded), skip_symbolic_shape=True)
        model = onnx.load(str(folded))
        for i, node in enumerate(model.graph.node):
            node.name = node.name or f"node_{i}"
        onnx.save(model, str(folded))
        excluded = [*_spared_convolutions(model), *_gate_convolutions(model), *_head_convolutions(model)]
        for method in (CalibrationMethod.Percentile, CalibrationMethod.MinMax):
            try:
                quantize_static(
                    str(folded),
                    str(target),
                    _Photos(data, photos, size),
                    quant_format=QuantFormat.QDQ,
                    op_types_to_quantize=["Conv"],
                    nodes_to_exclude=excluded,
                    per_channel=True,
                    reduce_range=True,
                    weight_type=QuantType.QInt8,
                    activation_type=QuantType.QUInt8,
                    calibrate_method=method,
                    extra_options={"CalibPercentile": _PERCENTILE},
                )
                break
            except ValueError as error:
                # activations that hardly vary, of a model that hardly trained, have no histogram
                if method is CalibrationMethod.MinMax:
                    raise
                log.warning("calibrating by the range instead of the percentile: %s", error)
    quantised = onnx.load(str(target))
    _spread_groups(quantised)
    onnx.save(quantised, str(target))
