"""Get the photos that the published models saw, with labels: `python -m featherface_training.prepare -h`.

`photos.toml` says where they lie. Photos are taken out of clones of git repositories, those without labels
get them from detectors that agree, and those of WIDER FACE train that lie elsewhere are gathered. What is
there is not made again. Each data set has terms of its own: see docs/training.md before you use one.
"""

import argparse
import re
import shutil
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import pseudo_label
from .data import gather
from .data.repositories import Taken, extract, obtain
from .data.wider import LabelError
from .places import pairs

__all__ = ["Collection", "main", "read_collection"]

_FLAGS = ("negatives", "heads")
_NUMBERS = ("size", "accept", "doubt")
_PLACES = ("voc", "keypoints", "animals", "poses", "unlike")


@dataclass(frozen=True, slots=True)
class Collection:
    """What `photos.toml` says.

    Attributes
    ----------
    folders : mapping of str to sequence of Taken
        What goes into a folder.
    labels : mapping of str to mapping
        Options of `pseudo_label` by data set, and its folder of photos.
    gathered : mapping of str to mapping
        Options of `data.gather` by data set.
    """

    folders: Mapping[str, Sequence[Taken]]
    labels: Mapping[str, Mapping[str, Any]]
    gathered: Mapping[str, Mapping[str, Any]]

    def needs(self, name: str) -> list[str]:
        """Return the folders that a data set needs."""
        if name in self.labels:
            told = self.labels[name]
            paths = [told["photos"], *(told[key] for key in _PLACES if key in told)]
        elif name in self.gathered:
            told = self.gathered[name]
            paths = [told["known"], *told["folders"], *told["stretched"], told["sizes"]]
        else:
            paths = [name]
        return list(dict.fromkeys(path.partition("/")[0] for path in paths))


def read_collection(path: Path | None = None) -> Collection:
    """Read a list of data sets.

    Parameters
    ----------
    path : Path or None
        The TOML file; that of the published models if omitted.

    Raises
    ------
    LabelError
        If an entry lacks a key or has one that nothing reads, an expression is none, or a folder is told
        nowhere.
    """
    path = path or Path(__file__).with_name("photos.toml")
    told = tomllib.loads(path.read_text())
    for name, parts in told["folders"].items():
        for part in parts:
            _check_keys(f"{path.name}: {name}", part, ("repository", "take"), ("strip", "revision"))
            for key in ("take", "strip"):
                try:
                    re.compile(part.get(key, ""))
                except re.error as error:
                    raise LabelError(f"{path.name}: {name}: {key}: {error}") from error
    for name, options in told["labels"].items():
        others = (*_FLAGS, *_NUMBERS, *_PLACES)
        _check_keys(f"{path.name}: {name}", options, ("photos", "detectors"), others)
    for name, options in told["gathered"].items():
        _check_keys(f"{path.name}: {name}", options, ("known", "folders", "stretched", "sizes"))
    folders = {name: [Taken(**part) for part in parts] for name, parts in told["folders"].items()}
    collection = Collection(folders, told["labels"], told["gathered"])
    for name in (*collection.labels, *collection.gathered):
        if absent := [folder for folder in collection.needs(name) if folder not in folders]:
            raise LabelError(f"{path.name}: {name} needs {absent[0]!r}, which is no folder there")
    return collection


def _check_keys(
    where: str, told: Mapping[str, Any], needed: Sequence[str], others: Sequence[str] = ()
) -> None:
    if absent := [key for key in needed if key not in told]:
        raise LabelError(f"{where} has no {absent[0]!r}")
    if unknown := [key for key in told if key not in {*needed, *others}]:
        raise LabelError(f"{where} has {unknown[0]!r}; expected {', '.join((*needed, *others))}")


@dataclass(frozen=True, slots=True)
class _Bench:
    """Where everything lies and goes."""

    collection: Collection
    clones: Path
    origin: str
    output: Path
    detectors: Mapping[str, Path]
    train_labels: Path

    def folder(self, name: str) -> None:
        """Fill a folder, whole or not at all."""
        target = self.output / name
        if target.is_dir():
            return
        partial = self.output / f".{name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        missing = 0
        for taken in self.collection.folders[name]:
            place = obtain(taken.repository, self.clones, self.origin)
            missing += extract(place, taken, partial)[1]
        files = sum(path.is_file() for path in partial.rglob("*"))
        partial.rename(target)
        print(f"{target}: {files} files" + (f", {missing} more are not in the clones" if missing else ""))

    def extra(self, name: str) -> str:
        """Make a data set's labels, and return its NAME=LABELS:PHOTOS."""
        if name in self.collection.gathered:
            photos = self.output / name
            if not photos.is_dir():
                self._gather(self.collection.gathered[name], photos)
            return f"{name}={self.train_labels}:{photos}"
        told = self.collection.labels[name]
        labels, photos = self.output / f"{name}.jsonl", self.output / told["photos"]
        if not labels.is_file():
            arguments = [str(photos), "--output", str(labels)]
            for detector in told["detectors"]:
                arguments += ["--detector", str(self.detectors[detector])]
            arguments += [f"--{flag}" for flag in _FLAGS if told.get(flag)]
            for key in (*_NUMBERS, *_PLACES):
                if key in told:
                    value = self.output / told[key] if key in _PLACES else told[key]
                    arguments += [f"--{key}", str(value)]
            pseudo_label.main(arguments)
        return f"{name}={labels}:{photos}"

    def _gather(self, told: Mapping[str, Any], photos: Path) -> None:
        partial = photos.with_name(f".{photos.name}.partial")
        arguments = [str(self.output / folder) for folder in told["folders"]]
        for folder in told["stretched"]:
            arguments += ["--stretched", str(self.output / folder)]
        arguments += ["--sizes", str(self.output / told["sizes"])]
        arguments += ["--wider", str(self.output / told["known"]), "--labels", str(self.train_labels)]
        gather.main([*arguments, "--output", str(partial)])
        partial.rename(photos)


def _wanted(collection: Collection, only: Sequence[str], without: Iterable[str]) -> list[str]:
    every = list(dict.fromkeys([*collection.labels, *collection.gathered, *collection.folders]))
    for name in (*only, *without):
        if name not in every:
            raise LabelError(f"there is no {name!r}: expected one of {', '.join(every)}")
    left_out = set(without)
    return [name for name in only or every if name not in left_out]


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m featherface_training.prepare", description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder for photos and labels")
    parser.add_argument("--labels", type=Path, required=True, help="WIDER's train labels, label.txt[.gz]")
    parser.add_argument(
        "--file",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="tiny, yunet, centerface: .onnx of the detectors",
    )
    parser.add_argument(
        "--clones", type=Path, default=Path("data/clones"), help="OWNER/NAME.git (default data/clones)"
    )
    parser.add_argument(
        "--origin",
        default="https://github.com",
        help="where what is not there is cloned from, OWNER/NAME (default https://github.com)",
    )
    parser.add_argument("--list", type=Path, help="another list than that of the published models, TOML")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="this data set; repeat")
    parser.add_argument(
        "--without", action="append", default=[], metavar="NAME", help="all but this data set; repeat"
    )
    args = parser.parse_args(arguments)
    files = {name: Path(path) for name, path in pairs(args.file, parser, "--file").items()}
    try:
        collection = read_collection(args.list)
        wanted = _wanted(collection, args.only, args.without)
        _check(collection, wanted, files, args.labels)
        args.output.mkdir(parents=True, exist_ok=True)
        bench = _Bench(collection, args.clones, args.origin, args.output, files, args.labels)
        for folder in dict.fromkeys(folder for name in wanted for folder in collection.needs(name)):
            bench.folder(folder)
        trained = [name for name in wanted if name in collection.labels or name in collection.gathered]
        extras = [f"--extra={bench.extra(name)}" for name in trained]
    except (LabelError, OSError) as error:
        parser.error(str(error))
    told = args.output / "extras.txt"
    told.write_text("".join(f"{extra}\n" for extra in extras))
    print(f"{told}: {len(extras)} data sets, for `reproduce ... @{told}`")


def _check(collection: Collection, wanted: Iterable[str], files: Mapping[str, Path], labels: Path) -> None:
    """Tell what is missing before the first clone rather than hours later."""
    needed = {
        detector for name in wanted for detector in collection.labels.get(name, {}).get("detectors", ())
    }
    for name in sorted(needed):
        if name not in files or not files[name].is_file():
            raise LabelError(
                f"expected --file {name}=ONNX, got {files.get(name, 'none')}: docs/training.md says where"
            )
    if not labels.is_file():
        raise LabelError(f"expected WIDER's train labels at {labels}, found none")


if __name__ == "__main__":
    main()
