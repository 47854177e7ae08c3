"""What a package's model reaches: `python -m featherface_training.measure --help`.

Measures a package that is there already anew, such as on more photos than it was made with: its weights stay.
"""

import argparse
import json
import platform
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from featherface import Settings

from .evaluation import DIFFICULTIES, GroundTruth, evaluate, read_ground_truth
from .evaluation.boxes import corners
from .evaluation.detectors import CUSTOMARY, ScoredBoxes, Size, open_detector, open_faces
from .evaluation.errors import EvaluationError
from .evaluation.landmarks import landmark_error, read_keypoints
from .evaluation.reliability import Judged, Reliability, judge, reliability
from .evaluation.run import find_photos, predict
from .model_card import NAMES, model_card

__all__ = ["main", "measure", "measure_landmarks", "print_metrics", "write_texts"]

_SIZES: tuple[Size, ...] = (640, "original")


def _reliability(predictions: dict[str, ScoredBoxes], truth: GroundTruth) -> Reliability:
    def judged() -> Iterator[Judged]:
        for name, found in predictions.items():
            yield judge(corners(found), corners(truth[name].boxes), truth[name].counted["hard"])

    return reliability(Judged.together(judged()))


def measure(files: dict[str, Path], wider: Path, ground_truth: Path) -> dict[str, Any]:
    """Evaluate model files on the photos of WIDER FACE val that are present.

    The first file's confidences are compared, at long side 640, with the share of detections that are right.

    Parameters
    ----------
    files : dict of str to Path
        ONNX, by precision.
    wider, ground_truth : Path
        As `featherface evaluate` takes them.

    Returns
    -------
    dict
        `metrics` of a package's `deployment_config.json`.

    Raises
    ------
    EvaluationError
        If there are no photos, or no ground truth.
    """
    truth = read_ground_truth(ground_truth)
    photos = find_photos(wider, truth)
    results = []
    confidences: dict[str, Any] | None = None
    for precision, path in files.items():
        for size in _SIZES:
            predictions = predict(open_detector(str(path), size), photos)
            curves = evaluate(predictions, truth)
            if confidences is None:
                table = _reliability(predictions, truth)
                confidences = {
                    "size": size,
                    "error": round(table.error, 4),
                    "detections": table.count.tolist(),
                    "right": [None if np.isnan(share) else round(float(share), 3) for share in table.right],
                }
            results.append(
                {
                    "precision": precision,
                    "size": size,
                    **{d: round(curves[d].average_precision, 4) for d in DIFFICULTIES},
                }
            )
    return {
        "data": f"WIDER FACE val, {len(photos):,} of {len(truth):,} photos",
        "complete": len(photos) == len(truth),
        "protocol": "official WIDER FACE protocol, one scale, "
        f"threshold {CUSTOMARY.confidence_threshold}, soft NMS {CUSTOMARY.nms_threshold}",
        "command": "featherface evaluate --wider WIDER --ground-truth EVAL_TOOLS --model MODEL --size SIZE",
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()}, CPU provider",
        "average_precision": results,
        "confidence": confidences,
    }


def measure_landmarks(model: Path, table: Path, photos: Path) -> dict[str, Any]:
    """Measure a model's landmarks on photos of one face with known points, at a long side of 320 px."""
    settings = Settings(confidence_threshold=0.3)
    error = landmark_error(open_faces(str(model), 320, settings=settings), photos, read_keypoints(table))
    return {
        "photos": error.photos,
        "found": error.found,
        "normalised_mean_error": round(error.mean, 4),
        "normalised_by": "square root of the area of the box around the face's 68 points",
        "size": 320,
    }


def write_texts(folder: Path, title: str, configuration: dict[str, Any]) -> None:
    """Write a package's `deployment_config.json`, and the card that says the same in words."""
    (folder / "deployment_config.json").write_text(json.dumps(configuration, indent=2) + "\n")
    (folder / "MODEL_CARD.md").write_text(model_card(title, configuration))


def print_metrics(metrics: dict[str, Any]) -> None:
    """Print average precision, a row for each file and size."""
    print(metrics["data"])
    for row in metrics["average_precision"]:
        print(f"  {row['precision']} {row['size']}: " + " / ".join(f"{row[d]:.4f}" for d in DIFFICULTIES))


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m featherface_training.measure", description=__doc__)
    parser.add_argument("model", choices=sorted(NAMES))
    parser.add_argument("--models", type=Path, default=Path("layers/inference/models"))
    parser.add_argument("--wider", type=Path, required=True, help="WIDER FACE root, whole or partial")
    parser.add_argument("--ground-truth", type=Path, required=True, help="folder of the official .mat files")
    args = parser.parse_args(arguments)
    title, folder_name, stem = NAMES[args.model]
    folder = args.models / folder_name
    files = {"fp32": folder / f"{stem}.onnx", "int8": folder / f"{stem}_int8.onnx"}
    if missing := [
        path for path in (*files.values(), folder / "deployment_config.json") if not path.is_file()
    ]:
        parser.error(f"expected a package, {missing[0]} is not there: give its models folder by --models")
    configuration = json.loads((folder / "deployment_config.json").read_text())
    try:
        metrics = measure(files, args.wider, args.ground_truth)
    except EvaluationError as error:
        parser.error(str(error))
    if "landmarks" in configuration["metrics"]:
        metrics["landmarks"] = configuration["metrics"]["landmarks"]
    write_texts(folder, title, {**configuration, "metrics": metrics})
    print_metrics(metrics)


if __name__ == "__main__":
    main()
