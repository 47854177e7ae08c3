"""What a network says of a photo before anything is suppressed, and what its last two layers saw there."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from featherface import Settings
from featherface.postprocess import MOST_CANDIDATES
from featherface.priors import decode_boxes, make_priors
from featherface.runtime import OUTPUTS

from ..evaluation.detectors import Size, prepare
from ..export import export_onnx
from ..models.featherface import FeatherFace
from ..models.heads import PRIORS_PER_CELL
from ..sessions import open_levels
from .tail import tails

__all__ = ["Candidates", "open_candidates"]


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
    cells : ndarray, shape (K,), int64
        Where the priors lie: cells of stride 8 row by row, then of 16, then of 32.
    maps : sequence of ndarray, shapes (C, H, W), float32
        What the convolutions of `tails` see, a stride each.
    """

    corners: NDArray[np.float64]
    margins: NDArray[np.float32]
    sides: NDArray[np.int64]
    cells: NDArray[np.int64]
    maps: Sequence[NDArray[np.float32]]

    def patches(self, rows: NDArray[np.int64]) -> NDArray[np.float16]:
        """Return what the convolution sees at some candidates, laid out as its weights: shape (R, 9 * C)."""
        starts = np.cumsum([0, *(level[0].size for level in self.maps)])
        cells = self.cells[rows]
        seen = np.zeros((len(rows), 9 * len(self.maps[0])), np.float16)
        for level, first, end in zip(self.maps, starts, starts[1:], strict=False):
            here = np.flatnonzero((cells >= first) & (cells < end))
            down, across = np.divmod(cells[here] - first, level.shape[2])
            padded = np.pad(level, ((0, 0), (1, 1), (1, 1)))
            taps = [padded[:, down + dy, across + dx] for dy in range(3) for dx in range(3)]
            seen[here] = np.stack(taps, -1).transpose(1, 0, 2).reshape(len(here), seen.shape[1])
        return seen


def _seen_by(graph: onnx.GraphProto, weights: str) -> str:
    """Name what the convolution of these weights reads, which the export may have padded."""
    names = {weights, *(n.output[0] for n in graph.node if n.op_type == "Pad" and n.input[0] == weights)}
    return next(n.input[0] for n in graph.node if n.op_type == "Conv" and n.input[1] in names)


def open_candidates(
    model: FeatherFace, *, least: float, threads: int = 0
) -> Callable[[bytes, Size, bool], Candidates]:
    """Open a model for its candidates in a photo at a size: its long side in pixels, or "original".

    What is returned also wants to know whether to show the photo mirrored; the candidates are those of the
    photo as it is either way.

    Parameters
    ----------
    model : FeatherFace
        In evaluation mode, on the CPU.
    least : float
        Margin that a candidate has at least.
    threads : int
        Of the session; 0 for all.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export_onnx(model, path)
        network = onnx.load(str(path))
    channels = tails(model)[0].convolution.in_channels
    levels = [_seen_by(network.graph, tail.name) for tail in tails(model)]
    session = open_levels(network, levels, threads=threads, providers=["CPUExecutionProvider"])
    settings = Settings()
    source = session.get_inputs()[0].name

    def detect(data: bytes, size: Size, mirrored: bool = False) -> Candidates:
        prepared = prepare(data, size, settings)
        transform, pixels = prepared.transform, prepared.pixels
        if mirrored:
            # the padding stays where it was
            photo = pixels[:, :, : transform.scaled_width]
            pixels = np.concatenate([photo[:, :, ::-1], pixels[:, :, transform.scaled_width :]], 2)
        classes, boxes, *seen = (
            output[0] for output in session.run([*OUTPUTS[:2], *levels], {source: pixels[None]})
        )
        margins = classes[:, 1] - classes[:, 0]
        kept = np.flatnonzero(margins >= least)
        kept = kept[np.argsort(-margins[kept], kind="stable")[:MOST_CANDIDATES]]
        priors = make_priors(*transform.bucket)[kept]
        corners = transform.to_photo(decode_boxes(boxes[kept], priors))
        if mirrored:
            corners[:, [0, 2]] = transform.width - corners[:, [2, 0]]
        bounds = [transform.width, transform.height] * 2
        return Candidates(
            np.clip(corners, 0.0, bounds),
            margins[kept],
            priors[:, 2].astype(np.int64),
            kept // PRIORS_PER_CELL,
            [level[:channels] for level in seen],
        )

    return detect
