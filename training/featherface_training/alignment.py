"""Channels in the numbers that onnxruntime's CPU kernels are quick with, without another parameter.

onnxruntime lays features out in blocks of channels where a convolution takes a multiple of four; V1's neck
has 74, and its convolutions were left to the plain kernels. Here such a map gets channels of zeros. The
weights keep their shapes in the file; `Pad` nodes, which onnxruntime computes once when a session is made,
add what the new channels need.
"""

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper

__all__ = ["AlignmentError", "align_channels"]

MULTIPLE = 4
# narrower ones are hidden units and single maps of gates, which cost nothing
NARROWEST = 16
_CHANNELWISE = ("Add", "Mul", "Relu", "Sigmoid", "LeakyRelu", "MaxPool", "Resize")
# inputs of a normalisation: scale, shift, mean, variance
_VECTORS = (1, 2, 3, 4)


class AlignmentError(RuntimeError):
    """The graph does something with padded channels that is not known to leave the others as they were."""


def align_channels(graph: onnx.GraphProto) -> None:
    """Pad the channels of a graph's wide maps with zeros, in place, up to a multiple of four.

    Zeros stay zeros: convolutions get rows, columns and biases of zeros for them, normalisations shift them
    by none, and the models' activations map zero to zero. Where channels are compared with each other
    (CBAM's spatial gates) or picked, the padded ones are left out.

    Parameters
    ----------
    graph : onnx.GraphProto
        Of a canonical model, its nodes in the order in which they run.

    Raises
    ------
    AlignmentError
        If an operator takes padded channels that is none of those above.
    """
    _Alignment(graph).run()


class _Alignment:
    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
        self.constants = {
            node.output[0]: onnx.numpy_helper.to_array(node.attribute[0].t)
            for node in graph.node
            if node.op_type == "Constant"
        }
        self.nodes: list[onnx.NodeProto] = []
        # how many channels a map had before it was padded
        self.padded: dict[str, int] = {}
        self.made: set[str] = set()

    def run(self) -> None:
        for node in self.graph.node:
            if node.op_type == "Conv":
                self.convolution(node)
            elif wide := [name for name in node.input if name in self.padded]:
                self.other(node, wide)
            self.nodes.append(node)
        if self.padded:
            del self.graph.node[:]
            self.graph.node.extend(self.nodes)
            # shapes that the exporter inferred before
            del self.graph.value_info[:]

    def convolution(self, node: onnx.NodeProto) -> None:
        out, into = self.shapes[node.input[1]][:2]
        before = self.padded.get(node.input[0])
        group = next((a for a in node.attribute if a.name == "group"), None)
        depthwise = group is not None and group.i == out > into == 1
        if before is not None and not depthwise and group is not None and group.i > 1:
            raise AlignmentError(f"{node.name} groups the {before} channels that were to be padded")
        axes = []
        if out % MULTIPLE and out >= NARROWEST:
            if depthwise and before is None:
                raise AlignmentError(f"{node.name} takes {out} channels that no convolution made")
            axes.append(0)
            self.padded[node.output[0]] = out
        if before is not None and not depthwise:
            axes.append(1)
        if depthwise and before is not None:
            group.i = _aligned(out)
        if axes:
            node.input[1] = self.pad(node.input[1], axes)
        if axes[:1] == [0] and len(node.input) > 2:
            node.input[2] = self.pad(node.input[2], [0])

    def other(self, node: onnx.NodeProto, wide: list[str]) -> None:
        if node.op_type == "BatchNormalization":
            for i in _VECTORS:
                node.input[i] = self.pad(node.input[i], [0])
        elif node.op_type in ("ReduceMean", "ReduceMax"):
            axes = next(tuple(a.ints) for a in node.attribute if a.name == "axes")
            if axes == (1,):
                node.input[0] = self.slice(node.input[0])
                return
            if axes not in ((2, 3), (-2, -1)):
                raise AlignmentError(f"{node.name} reduces axes {axes} of padded channels")
        elif node.op_type == "Gather":
            indices = self.constants.get(node.input[1])
            if indices is None or indices.max() >= self.padded[node.input[0]]:
                raise AlignmentError(f"{node.name} picks channels that are not known to be old ones")
            return
        elif node.op_type == "Shape":
            return
        elif node.op_type not in _CHANNELWISE:
            raise AlignmentError(f"{node.op_type} {node.name} takes padded channels: what becomes of zeros?")
        self.padded[node.output[0]] = self.padded[wide[0]]

    def pad(self, name: str, axes: list[int]) -> str:
        """Return the name of a tensor of weights that has zeros at the end of some axes."""
        shape = self.shapes[name]
        ends = [_aligned(size) - size if axis in axes else 0 for axis, size in enumerate(shape)]
        return self.make("Pad", name, f"{name}/aligned", [0] * len(shape) + ends)

    def slice(self, name: str) -> str:
        """Return the name of a map without the channels of zeros."""
        return self.make("Slice", name, f"{name}/channels", [0], [self.padded[name]], [1])

    def make(self, op_type: str, name: str, output: str, *integers: list[int]) -> str:
        if output not in self.made:
            self.made.add(output)
            arguments = [self.constant(values) for values in integers]
            self.nodes.append(onnx.helper.make_node(op_type, [name, *arguments], [output], name=output))
        return output

    def constant(self, values: list[int]) -> str:
        name = "alignment/" + "_".join(map(str, values))
        if name not in self.made:
            self.made.add(name)
            self.graph.initializer.append(onnx.numpy_helper.from_array(np.array(values, np.int64), name))
        return name


def _aligned(channels: int) -> int:
    return -(-channels // MULTIPLE) * MULTIPLE
