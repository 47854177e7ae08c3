"""Networks that tell more than they were exported to."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx
    import onnxruntime

__all__ = ["open_levels"]


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
