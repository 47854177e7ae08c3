"""What a model's graph says about its architecture, by topology and shapes rather than by names.

Names are an exporter's taste; what the operators are wired to is the model. The parts that are looked for,
and the papers they are from: CBAM (Woo et al., ECCV 2018), BiFPN with fast normalised fusion (Tan et al.,
CVPR 2020), SSH (Najibi et al., ICCV 2017), channel shuffle (Zhang et al., CVPR 2018), SSD-style heads (Liu et
al., ECCV 2016).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from featherface.errors import ModelStructureError
from featherface.onnx_reader import Graph, Node, Tensor, read_onnx

__all__ = ["describe"]

# Operators that hand a vector of weights on, whole, in part or normalised.
_PASSING: Final = ("Slice", "Gather", "Div", "Relu", "Squeeze", "Unsqueeze", "Reshape", "Split")
_COMPUTING: Final = (
    *("Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization", "Resize"),
    *("LeakyRelu", "PRelu", "Relu", "Sigmoid"),
    *("AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool", "ReduceMax", "ReduceMean"),
)
_RANK: Final = 4
_SHAPING: Final = ("Identity", "Transpose", "Reshape", "Flatten")


def describe(data: bytes) -> dict[str, Any]:
    """Count a canonical (unfolded, unquantised) model's parameters and take down its structure.

    Parameters
    ----------
    data : bytes
        The ONNX file.

    Returns
    -------
    dict
        JSON values only. Lists run in the graph's order, from fine to coarse levels.

        parameters : int
            Trainable parameters: elements of convolution weights and biases, of BN scales and shifts, and of
            fusion vectors. Running statistics and constants do not count. A tensor that several operators
            share counts once; copies that an exporter has merged because their values were equal (they hang
            on Identity nodes) count as the separate parameters they are.
        opset : int
            Version of the ONNX operator set.
        inputs, outputs : list of str
            Names of the graph's inputs and outputs.
        operators : dict of str to int
            How often each operator that computes on features occurs: convolutions, normalisations,
            activations, poolings.
        cbam_channel_gates : list of [int, int]
            Channels and hidden units of each channel gate.
        cbam_channel_gate_biases : bool
            Whether the gates' MLPs have biases.
        cbam_spatial_gates : int
            Applications of a 7x7 gate over the maximum and the mean of the channels.
        cbam_spatial_gate_weights : int
            Distinct weights among them: fewer where levels share a gate.
        bifpn_fusion_inputs : list of int
            Features that each weighted fusion node adds.
        bifpn_fusion_vectors : list of int
            Lengths of the distinct fusion weight vectors.
        bifpn_convolutions : int
            Distinct depthwise convolutions that follow the fusion nodes.
        grouped_convolutions : dict of str to int
            Groups (as a string) to the number of grouped, not depthwise, convolutions.
        channel_shuffles : dict of str to int
            Groups (as a string) to the number of shuffles, written as a selection of channels; ``other`` for
            selections that interleave nothing.
        head_inputs, head_outputs : dict of str to list of int
            For each output of the graph, the input and output channels of the convolution of every level.

    Raises
    ------
    ModelStructureError
        The bytes are no such model, or hold weights that no part of the architecture explains.
    """
    return _Reading(read_onnx(data)).facts()


class _Reading:
    """One graph, indexed by who makes and who takes each value."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.maker: dict[str, Node] = {name: node for node in graph.nodes for name in node.outputs if name}
        self.takers: dict[str, list[Node]] = {}
        for node in graph.nodes:
            for name in dict.fromkeys(node.inputs):
                self.takers.setdefault(name, []).append(node)

    def facts(self) -> dict[str, Any]:
        channel, spatial = self.channel_gates(), self.spatial_gates()
        fusions = self.fusions()
        heads = {name: self.head(name) for name in self.graph.outputs}
        vectors = dict.fromkeys(name for vector, _, _ in fusions for name in vector)
        return {
            "parameters": self.count(vectors),
            "opset": self.graph.opset,
            "inputs": list(self.graph.inputs),
            "outputs": list(self.graph.outputs),
            "operators": self.operators(),
            "cbam_channel_gates": [[channels, hidden] for channels, hidden, _ in channel],
            "cbam_channel_gate_biases": bool(channel) and all(biases for _, _, biases in channel),
            "cbam_spatial_gates": len(spatial),
            "cbam_spatial_gate_weights": len(set(spatial)),
            "bifpn_fusion_inputs": [terms for _, terms, _ in fusions],
            "bifpn_fusion_vectors": [self.tensor_elements(name) for name in vectors],
            "bifpn_convolutions": len({weight for _, _, weight in fusions if weight}),
            "grouped_convolutions": self.grouped_convolutions(),
            "channel_shuffles": self.shuffles(),
            "head_inputs": {name: [into for into, _ in levels] for name, levels in heads.items()},
            "head_outputs": {name: [out for _, out in levels] for name, levels in heads.items()},
        }

    def trace(self, name: str, through: tuple[str, ...]) -> str:
        """Follow the first inputs of operators of the given types, up to a value that another makes."""
        seen = set[str]()
        while name not in seen:
            seen.add(name)
            node = self.maker.get(name)
            if node is None or node.op_type not in through or not node.inputs:
                break
            if node.op_type == "Pad" and (len(node.inputs) != 2 or node.attributes):
                break  # with something else than zeros
            name = node.inputs[0]
        return name

    def tensor(self, name: str) -> Tensor | None:
        """Return the initializer behind a name; Identity nodes and paddings with zeros are looked through.

        Channels of zeros that make a width a multiple of what kernels are quick with are no parameters.
        """
        return self.graph.initializers.get(self.trace(name, ("Identity", "Pad")))

    def tensor_elements(self, name: str) -> int:
        tensor = self.tensor(name)
        return tensor.elements if tensor else 0

    def shape(self, node: Node) -> tuple[int, ...]:
        """Return a convolution's weight shape (out, in per group, rows, columns)."""
        tensor = self.tensor(node.inputs[1]) if len(node.inputs) > 1 else None
        if tensor is None or len(tensor.dims) != 4:
            raise ModelStructureError(f"the convolution {node.name!r} has no weight of four dimensions")
        return tensor.dims

    def of_type(self, *op_types: str) -> Iterator[Node]:
        return (node for node in self.graph.nodes if node.op_type in op_types)

    def single(self, name: str, op_type: str) -> Node | None:
        """Return the first operator of a type that takes the value, if any."""
        return next((node for node in self.takers.get(name, ()) if node.op_type == op_type), None)

    def integers(self, name: str) -> tuple[int, ...]:
        """Return the values of a constant list of axes or indices; empty if it is none."""
        node, tensor = self.maker.get(name), self.tensor(name)
        if node is not None and node.op_type == "Constant":
            value = node.attributes.get("value")
            tensor = value if isinstance(value, Tensor) else None
        return tensor.integers if tensor is not None else ()

    def reduction(self, name: str) -> tuple[str, tuple[int, ...], str] | None:
        """Return kind, axes and input of the mean or maximum that makes a value."""
        node = self.maker.get(name)
        kinds = {
            "ReduceMean": "mean",
            "ReduceMax": "max",
            "GlobalAveragePool": "mean",
            "GlobalMaxPool": "max",
        }
        if node is None or node.op_type not in kinds or not node.inputs:
            return None
        axes: object = (2, 3)
        if node.op_type.startswith("Reduce"):
            # Opset 18 moved the axes from an attribute to an input.
            axes = node.attributes.get("axes") or self.integers(node.inputs[-1])
        counted = axes if isinstance(axes, tuple) else ()
        positive = tuple(axis % _RANK for axis in counted if isinstance(axis, int))
        return kinds[node.op_type], positive, node.inputs[0]

    def channel_gates(self) -> list[tuple[int, int, bool]]:
        """Find one MLP over the spatial mean and maximum of one feature: (channels, hidden, biases)."""
        by_weights: dict[tuple[str, str, str], set[str]] = {}
        facts: dict[tuple[str, str, str], tuple[int, int, bool]] = {}
        for first in self.of_type("Conv"):
            pooled = self.reduction(first.inputs[0]) if first.inputs else None
            relu = self.single(first.outputs[0], "Relu") if first.outputs else None
            second = self.single(relu.outputs[0], "Conv") if relu and relu.outputs else None
            if pooled is None or pooled[1] != (2, 3) or second is None:
                continue
            hidden, channels = self.shape(first)[:2]
            if self.shape(second)[:2] != (channels, hidden):
                continue
            key = (pooled[2], first.inputs[1], second.inputs[1])
            by_weights.setdefault(key, set()).add(pooled[0])
            facts[key] = (channels, hidden, len(first.inputs) > 2 and len(second.inputs) > 2)
        return [facts[key] for key, kinds in by_weights.items() if kinds == {"mean", "max"}]

    def spatial_gates(self) -> list[str]:
        """Find 7x7 convolutions over the channels' maximum and mean; return their weights' names."""
        gates = []
        for conv in self.of_type("Conv"):
            joined = self.maker.get(conv.inputs[0]) if conv.inputs else None
            if joined is None or joined.op_type != "Concat" or self.shape(conv) != (1, 2, 7, 7):
                continue
            pooled = [self.reduction(name) for name in joined.inputs]
            if [part and part[:2] for part in pooled] == [("max", (1,)), ("mean", (1,))]:
                gates.append(conv.inputs[1])
        return gates

    def fusions(self) -> list[tuple[tuple[str, ...], int, str]]:
        """Find swish over a weighted sum of features: (weight vectors, terms, depthwise weight behind it)."""
        found = []
        for swish in self.of_type("Mul"):
            sigmoids = [self.maker[n] for n in swish.inputs if n in self.maker]
            sigmoid = next((node for node in sigmoids if node.op_type == "Sigmoid"), None)
            if sigmoid is None or not sigmoid.inputs or sigmoid.inputs[0] not in swish.inputs:
                continue
            vectors = [self.vector(term) for term in self.terms(sigmoid.inputs[0])]
            named = tuple(dict.fromkeys(name for name in vectors if name))
            if len(vectors) > 1 and all(vectors):
                conv = self.single(swish.outputs[0], "Conv") if swish.outputs else None
                depthwise = conv is not None and self.shape(conv)[1] == 1
                found.append((named, len(vectors), conv.inputs[1] if conv and depthwise else ""))
        return found

    def terms(self, name: str) -> list[str]:
        """Return what a chain of additions adds."""
        waiting, terms, added = [name], list[str](), set[str]()
        while waiting:
            last = waiting.pop()
            node = self.maker.get(last)
            if node is not None and node.op_type in ("Add", "Sum") and last not in added:
                added.add(last)
                waiting.extend(reversed(node.inputs))
            else:
                terms.append(last)
        return terms

    def vector(self, term: str) -> str:
        """Return the name of the weight vector that scales a term; empty if none does."""
        node = self.maker.get(term)
        if node is None or node.op_type != "Mul":
            return ""
        for name in node.inputs:
            # Identity nodes are not passed: behind them, merged copies are parameters of their own.
            source = self.trace(name, _PASSING)
            tensor = self.tensor(source)
            if tensor is not None and tensor.is_float and len(tensor.dims) == 1:
                return source
        return ""

    def grouped_convolutions(self) -> dict[str, int]:
        groups = Counter[str]()
        for conv in self.of_type("Conv"):
            group = conv.attributes.get("group", 1)
            if isinstance(group, int) and group > 1 and self.shape(conv)[1] > 1:
                groups[str(group)] += 1
        return dict(sorted(groups.items()))

    def shuffles(self) -> dict[str, int]:
        """Find selections of all channels in an order that interleaves groups."""
        groups = Counter[str]()
        for gather in self.of_type("Gather"):
            order = self.integers(gather.inputs[1]) if len(gather.inputs) == 2 else ()
            if gather.attributes.get("axis", 0) == 1 and len(order) > 1:
                # Channels 0, size, 2 * size, ... come first: one of each group.
                size = order[1]
                parts = len(order) // size if size > 0 else 0
                interleaved = tuple(part * size + at for at in range(size) for part in range(parts))
                groups[str(parts) if order == interleaved else "other"] += 1
        return dict(sorted(groups.items()))

    def head(self, output: str) -> list[tuple[int, int]]:
        """Return (input, output) channels of the convolutions that an output of the graph joins."""
        joined = self.maker.get(output)
        levels = []
        for name in joined.inputs if joined is not None and joined.op_type == "Concat" else ():
            node = self.maker.get(self.trace(name, _SHAPING))
            if node is not None and node.op_type == "Conv":
                out, into = self.shape(node)[:2]
                levels.append((into, out))
        return levels

    def operators(self) -> dict[str, int]:
        return dict(sorted(Counter(node.op_type for node in self.of_type(*_COMPUTING)).items()))

    def count(self, vectors: dict[str, None]) -> int:
        """Count the trainable parameters and insist that no weight is left over."""
        trainable, fixed = dict(vectors), set[str]()
        for node in self.graph.nodes:
            if node.op_type == "Conv":
                trainable.update(dict.fromkeys(name for name in node.inputs[1:] if name))
            elif node.op_type == "BatchNormalization":
                trainable.update(dict.fromkeys(node.inputs[1:3]))
                fixed.update(node.inputs[3:])
            elif node.op_type == "Resize":
                fixed.update(node.inputs[1:])
        known = {tensor.name for name in (*trainable, *fixed) if (tensor := self.tensor(name))}
        left = [
            t.name for t in self.graph.initializers.values() if t.is_float and t.dims and t.name not in known
        ]
        if left:
            raise ModelStructureError(
                f"{len(left)} tensors belong to no part of the architecture, such as {left[0]!r}"
            )
        return sum(self.tensor_elements(name) for name in trainable)
