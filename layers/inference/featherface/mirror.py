"""A second look at each photo, in the mirror: twice the work for more faces found.

What the network says of a photo and of its mirror image is averaged prior by prior, before anything is
decoded or suppressed. The priors lie symmetrically in every input, for its sides are multiples of the
coarsest stride, so each has its counterpart in the mirror.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from featherface.priors import mirror_order
from featherface.resize import Bucket
from featherface.runtime import Outputs

__all__ = ["averaged", "mirrored"]

# Left and right eye, nose, left and right corner of the mouth: in the mirror left is right.
_LANDMARKS: Final = (1, 0, 2, 4, 3)


def mirrored(batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return inputs of the network as a mirror shows them.

    Parameters
    ----------
    batch : ndarray of float32, shape (N, 3, H, W)
        Inputs as `featherface.resize.to_model_input` makes them; left as they are.

    Returns
    -------
    ndarray of float32, same shape
        Its own memory, in C order.
    """
    return np.ascontiguousarray(batch[..., ::-1])


def averaged(outputs: Outputs, of_mirrored: Outputs, bucket: Bucket) -> Outputs:
    """Return the mean of what the network says of inputs and of their mirror images.

    Parameters
    ----------
    outputs, of_mirrored : tuple of ndarray of float32, shapes (N, P, 2), (N, P, 4) and (N, P, 10)
        Class logits, box regressions and landmark regressions, in the order of
        `featherface.priors.make_priors`.
    bucket : tuple of int
        Height and width of the input in pixels, multiples of 32.

    Returns
    -------
    tuple of ndarray of float32, same shapes
        In the frame of the inputs, not of the mirror.
    """
    order = mirror_order(*bucket)
    logits, boxes, landmarks = (output[:, order] for output in of_mirrored)
    boxes[..., 0] *= -1
    points = landmarks.reshape(*landmarks.shape[:-1], len(_LANDMARKS), 2)[..., _LANDMARKS, :]
    points[..., 0] *= -1
    there = (logits, boxes, points.reshape(landmarks.shape))
    half = np.float32(0.5)
    first, second, third = (half * (ours + theirs) for ours, theirs in zip(outputs, there, strict=True))
    return first, second, third
