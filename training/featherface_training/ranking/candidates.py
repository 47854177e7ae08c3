"""What a network says of a photo before anything is suppressed, and what its class heads saw there."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from featherface import Settings
from featherface.priors import decode_boxes, make_priors
from featherface.runtime import OUTPUTS

from ..checkpoint import load_model
from ..evaluation.detectors import Size, prepare
from ..export import export_onnx
from ..models.heads import PRIORS_PER_CELL
from ..teachers import head_levels

__all__ = ["Candidates", "open_candidates"]

# as many as the inference path lets into its suppression
_MOST = 5000


@dataclass(frozen=True, slots=True)
class Candidates:
    """All that a network takes for faces in one photo, by how much or how little, most confident first.

    Attributes
    ----------
    corners : ndarray, shape (K, 4), float64
        Left, top, right, bottom in pixels of the photo, clipped to it.
    margins : ndarray, shape (K,), float32
        Logit of face less logit of background.
    sides : ndarray, shape (K,), int64
        Of the priors that they come from, pixels of the network's input.
    features : ndarray, shape (K, C), float16
        What the last layer of the class head saw there.
    """

    corners: NDArray[np.float64]
    margins: NDArray[np.float32]
    sides: NDArray[np.int64]
    features: NDArray[np.float16]


def open_candidates(
    checkpoint: Path, size: Size, *, least: float, threads: int = 0
) -> Callable[[bytes], Candidates]:
    """Open a checkpoint for its candidates.

    Parameters
    ----------
    checkpoint : Path
    size : int or "original"
        The long side in pixels.
    least : float
        Margin that a candidate has at least.
    threads : int
        Of the session; 0 for all.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export_onnx(load_model(checkpoint)[0], path)
        network = onnx.load(str(path))
    levels = head_levels(network.graph)
    network.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in levels
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        network.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    settings = Settings()
    source = session.get_inputs()[0].name

    def detect(data: bytes) -> Candidates:
        prepared = prepare(data, size, settings)
        transform = prepared.transform
        classes, boxes, *seen = (
            output[0] for output in session.run([*OUTPUTS[:2], *levels], {source: prepared.pixels[None]})
        )
        margins = classes[:, 1] - classes[:, 0]
        kept = np.flatnonzero(margins >= least)
        kept = kept[np.argsort(-margins[kept], kind="stable")[:_MOST]]
        priors = make_priors(*transform.bucket)[kept]
        corners = transform.to_photo(decode_boxes(boxes[kept], priors))
        bounds = [transform.width, transform.height] * 2
        cells = np.concatenate([level.reshape(len(level), -1).T for level in seen])
        return Candidates(
            np.clip(corners, 0.0, bounds),
            margins[kept],
            priors[:, 2].astype(np.int64),
            cells[kept // PRIORS_PER_CELL].astype(np.float16),
        )

    return detect
