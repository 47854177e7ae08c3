"""Train a model: `python -m featherface_training.train --help`."""

import argparse
import json
import logging
from pathlib import Path

import torch

from .config import TrainSettings
from .data.annotations import read_annotations, split_source
from .data.mixture import Mixture
from .data.packed import PackedDataset, is_packed, pack
from .data.wider import read_wider
from .trainer import Trainer

__all__ = ["main"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m featherface_training.train", description=__doc__)
    parser.add_argument("--wider", type=Path, required=True, help="WIDER FACE root, whole or partial")
    parser.add_argument("--labels", type=Path, required=True, help="train labels, RetinaFace label.txt[.gz]")
    parser.add_argument("--pack", type=Path, required=True, help="folder for the packed data set")
    parser.add_argument(
        "--run", type=Path, required=True, help="folder for checkpoints; resumes if there are any"
    )
    parser.add_argument("--settings", type=Path, help="JSON with training settings")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=JSON",
        help='override one setting, such as loss.box="giou"',
    )
    parser.add_argument("--backbone", type=Path, help="its starting weights (.tar, .pt, .pth, .onnx)")
    parser.add_argument("--start", type=Path, help="checkpoint to start the whole network from")
    parser.add_argument(
        "--teacher",
        type=Path,
        action="append",
        default=[],
        help="checkpoint or RetinaFace .onnx to distil from",
    )
    parser.add_argument(
        "--extra",
        action="append",
        default=[],
        metavar="NAME=LABELS:PHOTOS",
        help="another data set: its labels, JSON Lines or WIDER FACE's label.txt[.gz], and the folder of its "
        "photos; `shares` says how much of it",
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--crops",
        choices=["auto", "cpu", "device"],
        default="auto",
        help="where crops are cut and recoloured; auto: on a CUDA device, whose memory then holds all photos",
    )
    parser.add_argument("--threads", type=int, help="CPU threads of the training process")
    parser.add_argument(
        "--teacher-threads",
        type=int,
        default=0,
        help="threads that ask the teachers about the batches to come; 0: asked in the step itself",
    )
    parser.add_argument("--workers", type=int, default=0, help="loader processes")
    parser.add_argument(
        "--stop-after", type=int, metavar="STEPS", help="stop early; the schedule stays the same"
    )
    return parser


def _data(wider: Path, labels: Path, packs: Path, extras: list[str], settings: TrainSettings) -> Mixture:
    """Pack what is not packed yet, each data set in a folder of its own."""
    # labels are read for packing only: a pack holds them
    if not is_packed(packs / "wider"):
        pack(read_wider(wider, labels), packs / "wider")
    others = {}
    for item in extras:
        name, annotations, photos = split_source(item)
        if not is_packed(packs / name):
            pack(read_annotations(annotations, photos), packs / name)
        others[name] = PackedDataset(packs / name)
    return Mixture(PackedDataset(packs / "wider"), others, settings.shares, settings.fourfold)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    args = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if args.threads:
        torch.set_num_threads(args.threads)
    settings = TrainSettings.from_dict(json.loads(args.settings.read_text()) if args.settings else {})
    overrides = (item.partition("=") for item in args.set)
    settings = settings.overridden({key: json.loads(value) for key, _, value in overrides})
    data = _data(args.wider, args.labels, args.pack, args.extra, settings)
    trainer = Trainer(
        settings,
        data,
        args.run,
        torch.device(args.device),
        backbone=args.backbone,
        start=args.start,
        teachers=args.teacher,
        device_crops=args.crops == "device" or (args.crops == "auto" and args.device.startswith("cuda")),
        workers=args.workers,
        teacher_threads=args.teacher_threads,
    )
    trainer.run(stop_after=args.stop_after)


if __name__ == "__main__":
    main()
