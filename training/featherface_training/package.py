"""Make a model package from a checkpoint: `python -m featherface_training.package --help`.

Exports, quantises, measures, and writes the package's files and the manifest's entry.
"""

import argparse
import hashlib
import json
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch

from featherface import Settings, __version__
from featherface.priors import CENTRE_VARIANCE, LEVELS, SIZE_VARIANCE
from featherface.resize import MEAN_BGR, STRIDE
from featherface.structure import describe

from .checkpoint import last_stage, load_model, stages
from .data.packed import PackedDataset
from .evaluation import DIFFICULTIES, GroundTruth, evaluate, read_ground_truth
from .evaluation.boxes import corners
from .evaluation.detectors import CUSTOMARY, ScoredBoxes, Size, open_detector, open_faces
from .evaluation.landmarks import landmark_error, read_keypoints
from .evaluation.reliability import Judged, Reliability, judge, reliability
from .evaluation.run import find_photos, predict
from .export import OPSET, export_onnx
from .model_card import model_card
from .quantize import quantize

__all__ = ["main", "make_package"]

NAMES = {
    "v1": ("FeatherFace V1", "v1_baseline", "featherface_v1"),
    "nano": ("FeatherFace Nano", "nano_efficient", "featherface_nano"),
}


def _entry(path: Path, models: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return {
        "path": path.relative_to(models).as_posix(),
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
    }


def _reliability(predictions: dict[str, ScoredBoxes], truth: GroundTruth) -> Reliability:
    def judged() -> Iterator[Judged]:
        for name, found in predictions.items():
            yield judge(corners(found), corners(truth[name].boxes), truth[name].counted["hard"])

    return reliability(Judged.together(judged()))


def measure(files: dict[str, Path], wider: Path, ground_truth: Path, sizes: list[Size]) -> dict[str, Any]:
    """Evaluate model files on the photos of WIDER FACE val that are present.

    The first file's confidences are compared, at the first size, with the share of detections that are right.
    """
    truth = read_ground_truth(ground_truth)
    photos = find_photos(wider, truth)
    results = []
    confidences: dict[str, Any] | None = None
    for precision, path in files.items():
        for size in sizes:
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
        "data": f"WIDER FACE val, {len(photos)} of {len(truth)} photos",
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


def _configuration(
    name: str, parameters: int, metrics: dict[str, Any], training: dict[str, Any]
) -> dict[str, Any]:
    defaults = asdict(Settings(model=name))
    return {
        "model": name,
        "version": __version__,
        "parameters": parameters,
        "input": {
            "name": "input",
            "layout": "NCHW",
            "colour": "BGR",
            "dtype": "float32",
            "multiple_of": STRIDE,
        },
        "mean": list(MEAN_BGR),
        "priors": [{"stride": stride, "sides": list(sides)} for stride, sides in LEVELS],
        "variances": [CENTRE_VARIANCE, SIZE_VARIANCE],
        "opset": OPSET,
        "defaults": {
            key: defaults[key]
            for key in ("input_size", "confidence_threshold", "nms_threshold", "max_detections")
        },
        "metrics": metrics,
        "training": training,
    }


def make_package(
    checkpoint: Path,
    models: Path,
    data: PackedDataset,
    wider: Path,
    ground_truth: Path,
    notes: dict[str, Any],
    keypoints: tuple[Path, Path] | None = None,
) -> None:
    """Write one model's package and its entry in the manifest.

    Parameters
    ----------
    checkpoint : Path
        From a training run.
    models : Path
        The models folder; other models' entries stay.
    data : PackedDataset
        Training photos, to calibrate int8 on.
    wider, ground_truth : Path
        To measure on.
    notes : dict
        What the settings don't say: starting weights, teacher, photos, machine.
    keypoints : tuple of Path, optional
        A table of 68 points a photo and the folder of its photos, held out from training: the landmarks are
        measured on them.
    """
    model, extra = load_model(checkpoint)
    title, folder_name, stem = NAMES[model.name]
    folder = models / folder_name
    folder.mkdir(parents=True, exist_ok=True)
    fp32, int8 = folder / f"{stem}.onnx", folder / f"{stem}_int8.onnx"
    export_onnx(model, fp32)
    quantize(fp32, int8, data)
    *history, last = stages(extra)
    training = {**last, "history": history, **notes}
    weights = folder / f"{stem}.pth"
    torch.save(
        {
            "model": model.name,
            **last_stage(extra),
            "history": history,
            "model_state_dict": model.state_dict(),
        },
        weights,
    )
    structure = describe(fp32.read_bytes())
    parameters = int(structure.pop("parameters"))
    metrics = measure({"fp32": fp32, "int8": int8}, wider, ground_truth, [640, "original"])
    if keypoints is not None:
        metrics["landmarks"] = measure_landmarks(fp32, *keypoints)
    configuration = _configuration(model.name, parameters, metrics, training)
    (folder / "deployment_config.json").write_text(json.dumps(configuration, indent=2) + "\n")
    (folder / "MODEL_CARD.md").write_text(model_card(title, configuration))
    entries = {
        "fp32": _entry(fp32, models),
        "int8": _entry(int8, models),
        "checkpoint": _entry(weights, models),
    }
    entries["int8"]["derived_from"] = entries["fp32"]["sha256"]
    manifest_path = models / "manifest.json"
    manifest = {"manifest_version": 1, "models": {}}
    if manifest_path.is_file():
        manifest = json.loads(manifest_path.read_text())
    manifest["models"][model.name] = {
        "name": title,
        "version": __version__,
        "package": folder_name,
        "parameters": parameters,
        "structure": structure,
        "files": entries,
    }
    temporary = manifest_path.with_suffix(".tmp")
    temporary.write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    os.replace(temporary, manifest_path)
    print(f"{title}: {parameters} parameters, written to {folder}")
    for row in metrics["average_precision"]:
        print(f"  {row['precision']} {row['size']}: " + " / ".join(f"{row[d]:.4f}" for d in DIFFICULTIES))


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m featherface_training.package", description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--models", type=Path, default=Path("layers/inference/models"))
    parser.add_argument("--pack", type=Path, required=True, help="the folder of packs")
    parser.add_argument("--wider", type=Path, required=True)
    parser.add_argument("--ground-truth", type=Path, required=True)
    parser.add_argument(
        "--keypoints", type=Path, nargs=2, metavar=("CSV", "PHOTOS"), help="68 points a photo, held out"
    )
    parser.add_argument(
        "--note", action="append", default=[], metavar="KEY=TEXT", help="told in the model card"
    )
    args = parser.parse_args(arguments)
    notes = {key: text for key, _, text in (item.partition("=") for item in args.note)}
    make_package(
        args.checkpoint,
        args.models,
        PackedDataset(args.pack / "wider"),
        args.wider,
        args.ground_truth,
        notes,
        tuple(args.keypoints) if args.keypoints else None,
    )


if __name__ == "__main__":
    main()
