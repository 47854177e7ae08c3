"""Make a model package from a checkpoint: `python -m featherface_training.package --help`.

Exports, quantises, measures, and writes the package's files and the manifest's entry.
"""

import argparse
import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from featherface import Settings, __version__
from featherface.priors import CENTRE_VARIANCE, LEVELS, SIZE_VARIANCE
from featherface.resize import MEAN_BGR, STRIDE
from featherface.structure import describe

from .checkpoint import last_stage, load_model, stages
from .data.packed import PackedDataset
from .export import OPSET, export_onnx
from .measure import measure, measure_landmarks, print_metrics, write_texts
from .model_card import NAMES, notes_of
from .quantize import quantize

__all__ = ["main", "make_package"]


def _entry(path: Path, models: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return {
        "path": path.relative_to(models).as_posix(),
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
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
    *,
    keep_notes: bool = False,
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
    keep_notes : bool
        Whether the notes of the package in its place stay, but for those given anew: for weights that are
        made again.

    Raises
    ------
    ValueError
        There would be no notes: a model card says what its model was trained on.
    """
    model, extra = load_model(checkpoint)
    title, folder_name, stem = NAMES[model.name]
    folder = models / folder_name
    before = folder / "deployment_config.json"
    if keep_notes and before.is_file():
        notes = {**notes_of(json.loads(before.read_text())["training"]), **notes}
    if not notes:
        raise ValueError(
            "a model card says what its model started from and was trained on: give that by --note KEY=TEXT, "
            f"or --keep-notes where {before} has it already"
        )
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
    metrics = measure({"fp32": fp32, "int8": int8}, wider, ground_truth)
    if keypoints is not None:
        metrics["landmarks"] = measure_landmarks(fp32, *keypoints)
    configuration = _configuration(model.name, parameters, metrics, training)
    write_texts(folder, title, configuration)
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
    print_metrics(metrics)


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
    parser.add_argument(
        "--keep-notes",
        action="store_true",
        help="keep those of the package in its place: for weights that are made again",
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
        keep_notes=args.keep_notes,
    )


if __name__ == "__main__":
    main()
