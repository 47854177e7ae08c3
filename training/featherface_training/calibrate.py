"""Making confidences probabilities: two numbers, fitted on training photos, folded into the heads."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from featherface.images import DecodedImage

from .data.packed import PackedDataset
from .evaluation.calibration import Calibration, Judged, fit, judge
from .evaluation.detectors import corners, open_decoded
from .export import export_onnx
from .models.featherface import FeatherFace

__all__ = ["calibrate", "fold"]


def fold(model: FeatherFace, calibration: Calibration) -> None:
    """Change a model in place so that the logit of its confidence is `scale` times what it was, plus `shift`.

    The heads' class convolutions take it up: no parameter is added, and the order of detections stays.
    """
    with torch.no_grad():
        for head in model.heads:
            convolution = head.classification
            convolution.weight *= calibration.scale
            convolution.bias *= calibration.scale
            # the confidence is the logistic function of the classes' difference
            convolution.bias[1::2] += calibration.shift


def calibrate(model: FeatherFace, data: PackedDataset, *, photos: int = 400, size: int = 640) -> Calibration:
    """Fit how a model's confidences are to be corrected, and fold it in.

    Parameters
    ----------
    model : FeatherFace
        Changed in place.
    data : PackedDataset
        Labelled photos.
    photos : int
        How many to look at, at most.
    size : int
        Long side of the model's input in pixels.
    """

    def look() -> Iterator[Judged]:
        with tempfile.TemporaryDirectory() as folder:
            exported = Path(folder) / "model.onnx"
            export_onnx(model, exported)
            detect = open_decoded(str(exported), size)
        for i in np.random.default_rng(0).permutation(len(data))[:photos]:
            pixels, labels = data[int(i)]
            height, width = pixels.shape[:2]
            image = Image.fromarray(np.ascontiguousarray(pixels[..., ::-1]))
            found = detect(DecodedImage(image, (0.0, 0.0, float(width), float(height)), width, height))
            # what nobody could label is neither right nor wrong
            known = np.concatenate([labels.boxes, labels.ignored]).astype(np.float64)
            yield judge(corners(found), known, np.arange(len(known)) < len(labels.boxes))

    calibration = fit(Judged.together(look()))
    fold(model, calibration)
    return calibration
