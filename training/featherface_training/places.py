"""Where files lie, as commands that make many trainings are told, and a training with them."""

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import train
from .config import TrainSettings

__all__ = ["Places", "add_places", "pairs", "read_places"]

_NEEDED = ("wider", "labels", "pack")
_PASSED_ON = ("device", "threads", "teacher-threads", "workers")


@dataclass(frozen=True, slots=True)
class Places:
    """Where everything lies.

    Attributes
    ----------
    wider, labels, packs : Path
        As for `featherface_training.train`.
    files : mapping of str to Path
        "tiny", "yunet", "centerface", "retinaface", "release-v1", "release-nano": as far as they are needed.
    extras : mapping of str to str
        LABELS:PHOTOS of the other data sets, by name.
    options : sequence of str
        More arguments of `featherface_training.train`, such as "--threads".
    """

    wider: Path
    labels: Path
    packs: Path
    files: Mapping[str, Path]
    extras: Mapping[str, str]
    options: Sequence[str] = ()

    def photos(self, extras: Iterable[str]) -> list[str]:
        """Return the arguments that name WIDER FACE and other data sets."""
        arguments = ["--wider", str(self.wider), "--labels", str(self.labels)]
        for name in extras:
            arguments += ["--extra", f"{name}={self.extras[name]}"]
        return arguments

    def train(
        self,
        folder: Path,
        settings: TrainSettings,
        start: Path,
        teachers: Iterable[Path],
        more: Sequence[str] = (),
    ) -> None:
        """Make the run of a folder from a checkpoint, or go on with it, as the command line would."""
        folder.mkdir(parents=True, exist_ok=True)
        written = folder / "settings.json"
        written.write_text(json.dumps(settings.to_dict(), indent=1))
        arguments = ["--run", str(folder), "--settings", str(written), "--start", str(start), *more]
        for teacher in teachers:
            arguments += ["--teacher", str(teacher)]
        train.main([*arguments, *self.photos(settings.shares), "--pack", str(self.packs), *self.options])


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


def read_places(args: argparse.Namespace, parser: argparse.ArgumentParser) -> Places:
    """Read what `add_places` has added; what is missing or no pair ends the command."""
    if absent := [name for name in _NEEDED if getattr(args, name) is None]:
        parser.error(f"--{absent[0]} is needed")
    options = [
        part
        for name in _PASSED_ON
        if (value := getattr(args, name.replace("-", "_")))
        for part in (f"--{name}", value)
    ]
    files = {name: Path(value) for name, value in pairs(args.file, parser, "--file").items()}
    extras = pairs(args.extra, parser, "--extra")
    return Places(args.wider, args.labels, args.pack, files, extras, options)


def pairs(items: Sequence[str], parser: argparse.ArgumentParser, option: str) -> dict[str, str]:
    """Read an option's NAME=VALUE; what is none ends the command."""
    parts = [item.partition("=") for item in items]
    if wrong := [item for item, (_, sign, _) in zip(items, parts, strict=True) if not sign]:
        parser.error(f"{option}: expected NAME=VALUE, got {wrong[0]!r}")
    return {name: value for name, _, value in parts}
