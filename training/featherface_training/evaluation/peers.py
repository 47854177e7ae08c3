"""Freely available detectors by others: for checking the protocol, comparing, and labelling photos.

Each network is recognised by its outputs; their decodings are from the papers and model files named below.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from featherface.nms import non_maximum_suppression
from featherface.priors import decode_boxes, decode_landmarks, make_priors
from featherface.resize import plan

from ..sessions import free_input
from .errors import EvaluationError

__all__ = ["Found", "Peer", "decode_centerface", "decode_retinaface", "decode_yunet"]

_Raw = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
_Decode = Callable[[list[NDArray[np.float32]], int, int], _Raw]


@dataclass(frozen=True, slots=True)
class Found:
    """Faces of one photo, most confident first.

    Attributes
    ----------
    boxes : ndarray, shape (K, 4), float64
        left, top, right, bottom in pixels of the photo, not clipped.
    scores : ndarray, shape (K,), float64
    landmarks : ndarray, shape (K, 5, 2), float64
        Eyes, nose, mouth corners, image left first.
    """

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    landmarks: NDArray[np.float64]


def _cells(height: int, width: int, stride: int, anchors: int) -> NDArray[np.int64]:
    rows, columns = np.mgrid[: height // stride, : width // stride]
    return np.repeat(np.stack([columns, rows], -1).reshape(-1, 2) * stride, anchors, axis=0)


def _scrfd(outputs: list[NDArray[np.float32]], height: int, width: int) -> _Raw:
    """SCRFD (Guo et al., 2021): distances to the four sides, two anchors at each cell's top left corner."""
    outputs = [o.reshape(-1, o.shape[-1]) for o in outputs]
    boxes, points = [], []
    for level, stride in enumerate((8, 16, 32)):
        centres = _cells(height, width, stride, 2)
        sides = outputs[3 + level] * stride
        boxes.append(np.concatenate([centres - sides[:, :2], centres + sides[:, 2:]], 1))
        points.append(np.tile(centres, 5) + outputs[6 + level] * stride)
    return np.concatenate(boxes), np.concatenate(outputs[:3])[:, 0].astype(float), np.concatenate(points)


def decode_retinaface(outputs: list[NDArray[np.float32]], height: int, width: int) -> _Raw:
    """RetinaFace (Deng et al., CVPR 2020) of a MobileNet: the priors and variances are ours.

    Parameters
    ----------
    outputs : list of ndarray
        The network's three, of one image.
    height, width : int
        Of that image, pixels.

    Returns
    -------
    boxes, scores, landmarks : ndarray
        Of every prior, else as `decode_yunet` returns them.
    """
    boxes, scores, points = (o[0] for o in outputs)
    priors = make_priors(height, width)
    return decode_boxes(boxes, priors), scores[:, 1].astype(float), decode_landmarks(points, priors)


def decode_yunet(outputs: list[NDArray[np.float32]], height: int, width: int) -> _Raw:
    """YuNet (Wu et al., Machine Intelligence Research 2023): no anchors, sizes in units of the stride.

    Parameters
    ----------
    outputs : list of ndarray
        The network's twelve, of one image.
    height, width : int
        Of that image, pixels.

    Returns
    -------
    boxes, scores, landmarks : ndarray, shapes (K, 4), (K,), (K, 10)
        Of every cell, pixels of that image, landmarks as x and y in turn.
    """
    boxes, scores, points = [], [], []
    for level, stride in enumerate((8, 16, 32)):
        classes, objects, sides, marks = (o[0].astype(float) for o in outputs[level::3])
        cells = _cells(height, width, stride, 1)
        centre, half = cells + sides[:, :2] * stride, np.exp(sides[:, 2:]) * stride / 2
        boxes.append(np.concatenate([centre - half, centre + half], 1))
        scores.append(np.sqrt(np.clip(classes, 0, 1) * np.clip(objects, 0, 1))[:, 0])
        points.append(np.tile(cells, 5) + marks * stride)
    return np.concatenate(boxes), np.concatenate(scores), np.concatenate(points)


def decode_centerface(outputs: list[NDArray[np.float32]], height: int, width: int) -> _Raw:
    """CenterFace (Xu et al., 2020): a heatmap at stride 4; all its pairs are (y, x).

    Parameters
    ----------
    outputs : list of ndarray
        The network's four, of one image.
    height, width : int
        Of that image, pixels.

    Returns
    -------
    boxes, scores, landmarks : ndarray
        As `decode_yunet` returns them.
    """
    heat, size, offset, marks = (o[0].reshape(len(o[0]), -1).astype(float) for o in outputs)
    cells = _cells(height, width, 4, 1)
    sides = np.exp(np.clip(size, None, 8))[::-1].T * 4
    corner = cells + (offset[::-1].T + 0.5) * 4 - sides / 2
    points = marks.T.reshape(-1, 5, 2)[:, :, ::-1] * sides[:, None] + corner[:, None]
    return np.concatenate([corner, corner + sides], 1), heat[0], points.reshape(-1, 10)


# by the number of outputs: decoding, BGR or RGB, mean, scale
_KINDS: dict[int, tuple[_Decode, bool, tuple[float, float, float], float]] = {
    3: (decode_retinaface, True, (104, 117, 123), 1.0),
    4: (decode_centerface, False, (0, 0, 0), 1.0),
    9: (_scrfd, False, (127.5, 127.5, 127.5), 1 / 128),
    12: (decode_yunet, True, (0, 0, 0), 1.0),
}


class Peer:
    """Another detector: SCRFD, RetinaFace (of a MobileNet), YuNet-n or CenterFace, as ONNX.

    Parameters
    ----------
    path : Path
        The model; which one it is, its outputs say.
    threshold : float
        Least score.
    nms_threshold : float
        Intersection over union above which the weaker of two goes.
    threads : int
        Of the session; 0 for all.

    Raises
    ------
    EvaluationError
        If the file is none of these networks.
    """

    def __init__(
        self, path: Path, *, threshold: float = 0.02, nms_threshold: float = 0.4, threads: int = 0
    ) -> None:
        import onnx
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        data = path.read_bytes()
        self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        if len(self._session.get_outputs()) not in _KINDS:
            raise EvaluationError(
                f"expected SCRFD, RetinaFace, YuNet or CenterFace in {path}, got a network of "
                f"{len(self._session.get_outputs())} outputs"
            )
        self._decode, self._bgr, self._mean, self._scale = _KINDS[len(self._session.get_outputs())]
        if isinstance(self._session.get_inputs()[0].shape[2], int) and self._decode is decode_centerface:
            network = onnx.load_from_string(data)
            free_input(network)
            self._session = onnxruntime.InferenceSession(
                network.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        self._threshold, self._nms_threshold = threshold, nms_threshold

    def __call__(self, rgb: NDArray[np.uint8], long_side: int) -> Found:
        """Find faces.

        Parameters
        ----------
        rgb : ndarray, shape (H, W, 3), uint8
        long_side : int
            Of the network's input, pixels. Resized by OpenCV's bilinear, which does not smooth, as the
            published figures of peers were taken with.

        Raises
        ------
        EvaluationError
            If the network's input is fixed and smaller.
        """
        height, width = rgb.shape[:2]
        transform = plan(width, height, long_side, "long_side")
        source = self._session.get_inputs()[0]
        # some files fix the input's size
        shape = [
            f if isinstance(f, int) else b for f, b in zip(source.shape[2:], transform.bucket, strict=True)
        ]
        if shape[0] < transform.scaled_height or shape[1] < transform.scaled_width:
            raise EvaluationError(
                f"this network takes {shape[1]}x{shape[0]} pixels only, and the photo needs "
                f"{transform.scaled_width}x{transform.scaled_height}: choose a smaller size"
            )
        image = cv2.resize(rgb, (transform.scaled_width, transform.scaled_height)).astype(np.float32)
        canvas = np.zeros((*shape, 3), np.float32)
        canvas[: image.shape[0], : image.shape[1]] = (
            (image[..., ::-1] if self._bgr else image) - np.array(self._mean, np.float32)
        ) * np.float32(self._scale)
        outputs = self._session.run(None, {source.name: canvas.transpose(2, 0, 1)[None]})
        boxes, scores, points = self._decode(outputs, *shape)
        kept = np.flatnonzero(scores >= self._threshold)
        best = kept[non_maximum_suppression(boxes[kept], scores[kept], self._nms_threshold)]
        return Found(
            transform.to_photo(boxes[best]), scores[best], transform.to_photo(points[best]).reshape(-1, 5, 2)
        )
