"""Where files lie, as the commands that run many trainings are told."""

import argparse
from collections.abc import Sequence
from pathlib import Path

__all__ = ["add_places", "passed_on", "read_pairs"]

_PASSED_ON = ("device", "threads", "teacher-threads", "workers")


def add_places(parser: argparse.ArgumentParser) -> None:
    """Add the options: photos, labels, packs, files by name, and what each training is run with."""
    parser.add_argument("--wider", type=Path, help="WIDER FACE root, whole or partial")
    parser.add_argument("--labels", type=Path, help="train labels, RetinaFace label.txt[.gz]")
    parser.add_argument("--pack", type=Path, help="folder for the packed data sets")
    parser.add_argument(
        "--file",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="tiny, yunet, centerface, retinaface: .onnx of teachers; release-v1, release-nano: weights",
    )
    parser.add_argument("--extra", action="append", default=[], metavar="NAME=LABELS:PHOTOS")
    for name in _PASSED_ON:
        parser.add_argument(f"--{name}", help="as for featherface_training.train")


def passed_on(args: argparse.Namespace) -> list[str]:
    """Return those arguments that every training gets."""
    return [
        part
        for name in _PASSED_ON
        if (value := getattr(args, name.replace("-", "_")))
        for part in (f"--{name}", value)
    ]


def read_pairs(items: Sequence[str], parser: argparse.ArgumentParser, option: str) -> dict[str, str]:
    """Read NAME=VALUE; what is none ends the command."""
    pairs = [item.partition("=") for item in items]
    if wrong := [item for item, (_, sign, _) in zip(items, pairs, strict=True) if not sign]:
        parser.error(f"{option}: expected NAME=VALUE, got {wrong[0]!r}")
    return {name: value for name, _, value in pairs}
