"""Networks that take and tell more than they were exported to."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx
    import onnxruntime

__all__ = ["free_input", "open_levels"]


def free_input(network: "onnx.ModelProto") -> None:
    """Let a network that was exported for one size take any: its operators don't care.

    Parameters
    ----------
    network : onnx.ModelProto
        Is changed.
    """
    weights = {tensor.name for tensor in network.graph.initializer}
    for value in [*network.graph.input, *network.graph.output]:
        if value.name not in weights:
            for axis, name in ((0, "n"), (2, "h"), (3, "w")):
                if axis < len(value.type.tensor_type.shape.dim):
                    value.type.tensor_type.shape.dim[axis].dim_param = f"{value.name}_{name}"
    del network.graph.value_info[:]
    # weights listed as inputs keep onnxruntime from folding them
    inputs = [value for value in network.graph.input if value.name not in weights]
    del network.graph.input[:]
    network.graph.input.extend(inputs)


def open_levels(
    network: "onnx.ModelProto", levels: Iterable[str], *, threads: int, providers: Sequence[str]
) -> "onnxruntime.InferenceSession":
    """Open a network whose outputs are followed by some of its inner tensors, which it is changed to have.

    Parameters
    ----------
    network : onnx.ModelProto
    levels : iterable of str
        Names of the inner tensors, float32.
    threads : int
        Of the session; 0 for all.
    providers : sequence of str
        Of onnxruntime.
    """
    import onnx
    import onnxruntime

    network.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in levels
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # it warns that these outputs tell no shape
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(network.SerializeToString(), options, providers=list(providers))
