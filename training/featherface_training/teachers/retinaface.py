"""Make a teacher of RetinaFace with MobileNetV2: `python -m featherface_training.teachers.retinaface --help`.

TensorFlow's graph of it takes red, green and blue from 0 to 255. The students, and every RetinaFace that
`ForeignTeacher` and `Peer` open, take blue, green and red less a mean: the network gets a first step that
turns the one into the other. Its priors and variances are the students'.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..data.augment import BGR_MEAN
from .foreign import RETINAFACE_WIDTHS
from .lesson import TeacherError

if TYPE_CHECKING:
    import onnx

__all__ = ["main", "take_students_input"]


def take_students_input(network: "onnx.ModelProto") -> None:
    """Let a network of RGB pixels take what the students take.

    Parameters
    ----------
    network : onnx.ModelProto
        Takes (N, 3, H, W) float32, RGB from 0 to 255; outputs boxes, class probabilities and landmarks of
        each prior, shapes (N, P, 4), (N, P, 2), (N, P, 10). Is changed: its input is BGR less `BGR_MEAN`.

    Raises
    ------
    TeacherError
        If its input or its outputs are others.
    """
    from onnx import TensorProto, helper, numpy_helper

    graph = network.graph
    inputs = [[axis.dim_value for axis in value.type.tensor_type.shape.dim] for value in graph.input]
    if len(inputs) != 1 or len(inputs[0]) != 4 or inputs[0][1] != 3:
        raise TeacherError(
            f"expected one input (N, 3, H, W), got {inputs}: convert it with tf2onnx's --inputs-as-nchw"
        )
    widths = [[axis.dim_value for axis in value.type.tensor_type.shape.dim][-1:] for value in graph.output]
    if widths != [[width] for width in RETINAFACE_WIDTHS]:
        raise TeacherError(
            f"expected outputs whose last axes are {RETINAFACE_WIDTHS}, boxes, class probabilities and "
            f"landmarks, got {widths}: name them in this order as tf2onnx's --outputs"
        )
    pixels = graph.input[0].name
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.array(BGR_MEAN, np.float32).reshape(1, 3, 1, 1), "students_mean"),
            numpy_helper.from_array(np.array([2, 1, 0]), "reversed"),
        ]
    )
    first = [
        helper.make_node("Add", ["students_input", "students_mean"], ["students_pixels"]),
        helper.make_node("Gather", ["students_pixels", "reversed"], [pixels], axis=1),
    ]
    nodes = [*first, *graph.node]
    del graph.node[:], graph.input[:], graph.value_info[:]
    graph.node.extend(nodes)
    shape = ["n", 3, "h", "w"]
    graph.input.append(helper.make_tensor_value_info("students_input", TensorProto.FLOAT, shape))
    for output, width in zip(graph.output, RETINAFACE_WIDTHS, strict=True):
        output.CopyFrom(helper.make_tensor_value_info(output.name, TensorProto.FLOAT, ["n", "p", width]))


def main(argv: list[str] | None = None) -> int:
    """Run the command line."""
    import onnx
    from google.protobuf.message import DecodeError

    parser = argparse.ArgumentParser(
        prog="python -m featherface_training.teachers.retinaface", description=__doc__
    )
    parser.add_argument("converted", type=Path, help="what tf2onnx wrote")
    parser.add_argument("output", type=Path, help="ONNX file to write")
    args = parser.parse_args(argv)
    try:
        network = onnx.load(str(args.converted))
        take_students_input(network)
    except DecodeError:
        parser.error(f"expected ONNX in {args.converted}, this is no such file: convert the graph by tf2onnx")
    except (OSError, TeacherError) as error:
        parser.error(str(error))
    onnx.checker.check_model(network)
    onnx.save(network, str(args.output))
    print(f"{args.output}: takes the students' input")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
