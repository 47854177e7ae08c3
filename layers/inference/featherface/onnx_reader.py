"""The few parts of an ONNX file that validation needs, read without protobuf.

Importing ``onnx`` would cost a cold start more than everything else together, for a handful of fields. This
reads the protobuf wire format (https://protobuf.dev/programming-guides/encoding) of the messages ModelProto,
GraphProto, NodeProto, AttributeProto, TensorProto and ValueInfoProto as ``onnx.proto3`` numbers their fields.
Anything that could hide weights from a count is refused rather than skipped: external data, subgraphs, sparse
tensors, local functions.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from featherface.errors import ModelStructureError

__all__ = ["AttributeValue", "Graph", "Node", "Tensor", "read_onnx"]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FLOAT, _INT32, _INT64 = 1, 6, 7
# Bytes per element of TensorProto.DataType; sub-byte and string types do not occur in these models.
_ITEM_SIZES: Final = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2}
_MAX_RANK: Final = 16
# Fields of AttributeProto and TensorProto that could hide weights.
_REFUSED_ATTRIBUTES: Final[Mapping[int, str]] = {
    **{6: "subgraphs", 10: "tensor lists", 11: "subgraphs", 14: "types", 15: "types"},
    **{22: "sparse tensors", 23: "sparse tensors"},
}
_REFUSED_TENSORS: Final[Mapping[int, str]] = {13: "external data", 3: "segmented tensors"}


class Tensor(NamedTuple):
    """A constant of the graph.

    Parameters
    ----------
    name : str
    dims : tuple of int
    data_type : int
        ``TensorProto.DataType``: 1 is float32, 7 is int64.
    integers : tuple of int
        The values where `data_type` is an integer type of 32 or 64 bits; empty otherwise.
    """

    name: str
    dims: tuple[int, ...]
    data_type: int
    integers: tuple[int, ...] = ()

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.dims)

    @property
    def is_float(self) -> bool:
        """Whether it holds float32."""
        return self.data_type == _FLOAT


AttributeValue = int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...] | Tensor


class Node(NamedTuple):
    """One operator."""

    op_type: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, AttributeValue]


class Graph(NamedTuple):
    """A model's graph.

    Parameters
    ----------
    opset : int
        Version of the default operator set.
    nodes : tuple of Node
        In the file's order.
    initializers : mapping of str to Tensor
    inputs, outputs : tuple of str
        Names; inputs leave out initializers, which old files list among them.
    """

    opset: int
    nodes: tuple[Node, ...]
    initializers: Mapping[str, Tensor]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def read_onnx(data: bytes) -> Graph:
    """Read a model.

    Parameters
    ----------
    data : bytes
        The ONNX file.

    Returns
    -------
    Graph

    Raises
    ------
    ModelStructureError
        The bytes are not an ONNX model, or hold something that this reader refuses.
    """
    try:
        return _model(data)
    except (_Malformed, UnicodeDecodeError) as error:
        raise ModelStructureError(f"the file is not an ONNX model that can be validated: {error}") from error


class _Malformed(Exception):
    """The bytes break the wire format or the schema."""


class _Fields:
    """The fields of one message by number, told apart by how the wire carries them."""

    __slots__ = ("chunks", "integers", "words")

    def __init__(self) -> None:
        self.integers: dict[int, list[int]] = {}
        self.chunks: dict[int, list[bytes]] = {}
        self.words: dict[int, list[bytes]] = {}

    def texts(self, number: int) -> tuple[str, ...]:
        return tuple([chunk.decode() for chunk in self.chunks.get(number, ())])

    def text(self, number: int) -> str:
        chunks = self.chunks.get(number)
        return chunks[-1].decode() if chunks else ""

    def integer(self, number: int, default: int = 0) -> int:
        values = self.integers.get(number)
        return values[-1] if values else default

    def integer_list(self, number: int) -> tuple[int, ...]:
        values = tuple(self.integers.get(number, ()))
        for chunk in self.chunks.get(number, ()):
            values += tuple(_packed(chunk))
        return values

    def floats(self, number: int) -> tuple[float, ...]:
        packed = [*self.words.get(number, ()), *self.chunks.get(number, ())]
        if any(len(chunk) % 4 for chunk in packed):
            raise _Malformed(f"field {number} is no list of 32 bit floats")
        return tuple(value for chunk in packed for (value,) in struct.iter_unpack("<f", chunk))


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data):
            raise _Malformed("a number is cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift > 63:
            raise _Malformed("a number has more than 64 bits")
    value &= 2**64 - 1
    # int32 and int64 fields carry negative numbers as their two's complement.
    return (value - 2**64 if value >> 63 else value), at


def _packed(data: bytes) -> Iterator[int]:
    at = 0
    while at < len(data):
        value, at = _varint(data, at)
        yield value


def _fields(data: bytes) -> _Fields:
    # Every cold start waits for some ten thousand rounds of this loop: numbers of one byte, which most are,
    # are read in place.
    fields, at, end = _Fields(), 0, len(data)
    integers, chunks = fields.integers, fields.chunks
    while at < end:
        key = data[at]
        at += 1
        if key >= 0x80:
            key, at = _varint(data, at - 1)
        number, wire = key >> 3, key & 7
        if number < 1:
            raise _Malformed(f"there is no field {number}")
        if wire == _VARINT:
            value, at = _varint(data, at)
            integers.setdefault(number, []).append(value)
            continue
        if wire == _BYTES:
            length = data[at] if at < end else 0x80
            at += 1
            if length >= 0x80:
                length, at = _varint(data, at - 1)
            target = chunks
        elif wire in (_FIXED32, _FIXED64):
            length, target = (4 if wire == _FIXED32 else 8), fields.words
        else:
            raise _Malformed(f"field {number} has the unknown wire type {wire}")
        stop = at + length
        if not at <= stop <= end:
            raise _Malformed(f"field {number} has {length} bytes where {end - at} are left")
        if number in target:
            target[number].append(data[at:stop])
        else:
            target[number] = [data[at:stop]]
        at = stop
    return fields


def _only(fields: _Fields, number: int, what: str) -> bytes:
    """Return a singular message; protobuf would merge repetitions, which no exporter writes."""
    chunks = fields.chunks.get(number, [])
    if len(chunks) != 1:
        raise _Malformed(f"there must be one {what}, not {len(chunks)}")
    return chunks[0]


def _refuse(fields: _Fields, numbers: Mapping[int, str]) -> None:
    if not fields.chunks.keys().isdisjoint(numbers):
        what = next(what for number, what in numbers.items() if number in fields.chunks)
        raise _Malformed(f"it uses {what}, which this package never publishes")


def _model(data: bytes) -> Graph:
    model = _fields(data)
    _refuse(model, {25: "local functions", 20: "training information"})
    opsets = [_fields(chunk) for chunk in model.chunks.get(8, ())]
    graph = _fields(_only(model, 7, "graph"))
    _refuse(graph, {15: "sparse initializers"})
    initializers: dict[str, Tensor] = {}
    for chunk in graph.chunks.get(5, ()):
        tensor = _tensor(chunk)
        if tensor.name in initializers:
            raise _Malformed(f"two initializers have the name {tensor.name!r}")
        initializers[tensor.name] = tensor
    inputs = (_fields(chunk).text(1) for chunk in graph.chunks.get(11, ()))
    return Graph(
        opset=max((opset.integer(2) for opset in opsets if opset.text(1) in ("", "ai.onnx")), default=0),
        nodes=_nodes(graph.chunks.get(1, [])),
        initializers=initializers,
        inputs=tuple(name for name in inputs if name not in initializers),
        outputs=tuple(_fields(chunk).text(1) for chunk in graph.chunks.get(12, ())),
    )


def _nodes(chunks: list[bytes]) -> tuple[Node, ...]:
    nodes = []
    # Hundreds of convolutions share a few kinds of kernel, stride and group: each is read once.
    known: dict[bytes, tuple[str, AttributeValue]] = {}
    for chunk in chunks:
        node = _fields(chunk)
        attributes = {}
        for part in node.chunks.get(5, ()):
            if part not in known:
                known[part] = _attribute(part)
            name, value = known[part]
            attributes[name] = value
        nodes.append(Node(node.text(4), node.text(3), node.texts(1), node.texts(2), attributes))
    return tuple(nodes)


def _attribute(data: bytes) -> tuple[str, AttributeValue]:
    attribute = _fields(data)
    _refuse(attribute, _REFUSED_ATTRIBUTES)
    name = attribute.text(1)
    kind = attribute.integer(20)
    # AttributeProto.AttributeType says which field holds the value; a field at its default is not written.
    if kind == 1:
        return name, (attribute.floats(2) or (0.0,))[-1]
    if kind == 2:
        return name, attribute.integer(3)
    if kind == 3:
        return name, attribute.text(4)
    if kind == 4:
        return name, _tensor(_only(attribute, 5, "tensor"))
    if kind == 6:
        return name, attribute.floats(7)
    if kind == 7:
        return name, attribute.integer_list(8)
    if kind == 8:
        return name, attribute.texts(9)
    raise _Malformed(f"attribute {name!r} has the type {kind}, which these models do not use")


def _tensor(data: bytes) -> Tensor:
    tensor = _fields(data)
    name, kind, dims = tensor.text(8), tensor.integer(2), tensor.integer_list(1)
    _refuse(tensor, _REFUSED_TENSORS)
    if tensor.integer(14):
        raise _Malformed(f"tensor {name!r} lies outside of the file")
    if len(dims) > _MAX_RANK or any(not 0 <= dim < 2**31 for dim in dims):
        raise _Malformed(f"tensor {name!r} has the impossible shape {dims[:_MAX_RANK]}")
    if kind not in _ITEM_SIZES:
        raise _Malformed(f"tensor {name!r} has the data type {kind}, which these models do not use")
    # The shape is what gets counted, so it has to be what is stored.
    elements, stored = math.prod(dims), -1
    integers: tuple[int, ...] = ()
    raw = tensor.chunks.get(9)
    if raw is not None:
        if len(raw) != 1:
            raise _Malformed(f"tensor {name!r} has its data twice")
        size, rest = divmod(len(raw[0]), _ITEM_SIZES[kind])
        stored = -1 if rest else size
        if kind in (_INT32, _INT64) and stored == elements:
            integers = struct.unpack(f"<{elements}{'i' if kind == _INT32 else 'q'}", raw[0])
    elif kind in (_INT32, _INT64):
        integers = tensor.integer_list(5 if kind == _INT32 else 7)
        stored = len(integers)
    elif kind == _FLOAT:
        stored = len(tensor.floats(4))
    if stored != elements:
        raise _Malformed(f"tensor {name!r} of shape {dims} does not hold {elements} elements")
    return Tensor(name, dims, kind, integers)
