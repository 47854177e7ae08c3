"""The command ``featherface``.

Other packages add subcommands through the entry point group ``featherface.commands``: each entry point names
a function ``command(subparsers)`` that registers a parser under the entry point's name and sets its defaults
``func``, a function from the parsed arguments to an exit code, and ``extra``, the optional dependencies it
needs. Only the subcommand that is asked for is imported (all of them for the help), so that a package whose
dependencies are missing costs nothing until it is used.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Final

import featherface
from featherface.blurring import blur
from featherface.config import PROFILES, load_settings
from featherface.detector import Detector
from featherface.drawing import draw
from featherface.encoding import to_jpeg
from featherface.errors import (
    ConfigurationError,
    FeatherFaceError,
    ImageError,
    ModelIntegrityError,
    ModelManifestError,
)
from featherface.packages import ModelPackage, load_manifest
from featherface.validation import check_model, identify, read_model

__all__ = ["COMMAND_GROUP", "main"]

COMMAND_GROUP: Final = "featherface.commands"

_OK, _FAILED, _USAGE = 0, 1, 2
# as shells count: 128 and the signal
_STOPPED: Final = 130
_STDIN: Final = Path("-")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        The process's arguments if omitted.

    Returns
    -------
    int
        0 for success, 1 if something failed, 2 for a usage or configuration error, 130 after Ctrl-C.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    wanted = next((argument for argument in arguments if not argument.startswith("-")), None)
    try:
        parser = _parser(wanted, entry_points(group=COMMAND_GROUP))
    except _MissingCommandError as error:
        print(f"featherface: error: {error}", file=sys.stderr)
        return _USAGE
    parsed = parser.parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = parsed.func
    try:
        code = run(parsed)
        sys.stdout.flush()
        return code
    except FeatherFaceError as error:
        print(f"featherface: error: {error} [{error.code}]", file=sys.stderr)
        return _USAGE if error.code == "configuration" else _FAILED
    except ModuleNotFoundError as error:
        extra = getattr(parsed, "extra", None)
        if extra is None:
            raise
        print(f"featherface: error: this command needs {error.name}; {_how(extra)}", file=sys.stderr)
        return _USAGE
    except KeyboardInterrupt:
        print("featherface: stopped", file=sys.stderr)
        return _STOPPED
    except BrokenPipeError:
        # Whoever reads us has had enough, as `head` does. Python would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILED


class _MissingCommandError(Exception):
    """The subcommand that is asked for cannot be imported."""


def _parser(wanted: str | None, commands: Iterable[EntryPoint]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="featherface", description="Face detection you run yourself.")
    parser.add_argument("--version", action="version", version=f"featherface {featherface.__version__}")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    _add_detect(subparsers)
    _add_validate(subparsers)
    for entry in sorted(commands, key=lambda entry: entry.name):
        _add_entry(subparsers, entry, wanted)
    return parser


def _add_entry(subparsers: Any, entry: EntryPoint, wanted: str | None) -> None:
    """Register another package's subcommand; import it only where it is asked for."""
    if wanted not in (None, entry.name):
        subparsers.add_parser(entry.name)
        return
    try:
        entry.load()(subparsers)
    except (ImportError, AttributeError) as error:
        if wanted is None:
            subparsers.add_parser(entry.name, help=f"cannot be loaded: {error}")
            return
        raise _MissingCommandError(
            f"{entry.name} cannot be loaded: {error}; perhaps {_how(_extra(entry))}"
        ) from error


def _extra(entry: EntryPoint) -> str:
    """Return the optional dependencies of a package of this project; they carry its name."""
    return entry.value.partition(".")[0].removeprefix("featherface_")


def _how(extra: str) -> str:
    # Not by its name: whoever has it on an index, it is not ours.
    return f"install FeatherFace with it: pip install '.[{extra}]' in the folder of its source"


def _add_detect(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "detect",
        help="find the faces of photos and print them as JSON",
        description="Find the faces of photos and print one JSON document. A photo that cannot be used gets "
        "an error in its place; the exit code is then 1. After Ctrl-C it is 130, and the photos so far are "
        "printed.",
    )
    parser.add_argument(
        "photos", nargs="+", type=Path, metavar="PHOTO", help="JPEG, PNG, BMP or WebP; - reads standard input"
    )
    parser.add_argument("--profile", help=f"settings: {', '.join(PROFILES)} or a YAML file")
    parser.add_argument("--model", help="nano or v1")
    parser.add_argument("--precision", help="fp32 or int8")
    parser.add_argument("--device", help="auto, cpu, cuda or tensorrt")
    parser.add_argument("--input-size", type=int, metavar="PIXELS", help="320 to 1024 in steps of 32")
    parser.add_argument("--fit", help="long_side or square")
    parser.add_argument(
        "--mirror",
        action="store_true",
        default=None,
        help="look at each photo in the mirror, too: more faces, twice the time",
    )
    parser.add_argument("--confidence", type=float, metavar="P", help="drop faces below it, 0 to 1")
    parser.add_argument("--max-detections", type=int, metavar="N", help="at most so many faces per photo")
    parser.add_argument("--draw", type=Path, metavar="DIR", help="write annotated pictures there, as PNG")
    parser.add_argument(
        "--blur", type=Path, metavar="DIR", help="write copies without recognisable faces there, as JPEG"
    )
    parser.set_defaults(func=_detect)


def _detect(arguments: argparse.Namespace) -> int:
    settings = load_settings(
        arguments.profile,
        overrides={
            "model": arguments.model,
            "precision": arguments.precision,
            "device": arguments.device,
            "input_size": arguments.input_size,
            "fit": arguments.fit,
            "mirror": arguments.mirror,
            "confidence_threshold": arguments.confidence,
            "max_detections": arguments.max_detections,
        },
    )
    for option, folder in (("--draw", arguments.draw), ("--blur", arguments.blur)):
        if folder is not None and folder.exists() and not folder.is_dir():
            raise ConfigurationError(f"{option} needs a folder to write to; {folder} is a file")
    detector = Detector.load(settings=settings)
    info = detector.info
    answers: list[dict[str, Any]] = []
    stopped = False
    try:
        for path in arguments.photos:
            answers.append(_detect_one(detector, path, arguments.draw, arguments.blur))
    except KeyboardInterrupt:
        # what is known by now took time, and is whole
        stopped = True
    model = {"model": info.model, "version": info.version, "sha256": info.sha256, "provider": info.provider}
    json.dump({"model": model, "photos": answers}, sys.stdout, indent=2)
    print()
    if stopped:
        print(f"featherface: stopped after {len(answers)} of {len(arguments.photos)} photos", file=sys.stderr)
        return _STOPPED
    return _FAILED if any("error" in answer for answer in answers) else _OK


def _detect_one(detector: Detector, path: Path, pictures: Path | None, copies: Path | None) -> dict[str, Any]:
    answer: dict[str, Any] = {"path": str(path)}
    limits = detector.settings.image_limits
    name = "stdin" if path == _STDIN else path.stem
    try:
        data = _read(path, limits.max_bytes)
        detections = detector.detect(data)
        answer["detections"] = detections.to_dict()
        if pictures is not None:
            target = _free_name(pictures, f"{name}.faces", ".png")
            draw(data, detections, limits=limits).save(target)
            answer["picture"] = str(target)
        if copies is not None:
            target = _free_name(copies, f"{name}.blurred", ".jpg")
            target.write_bytes(to_jpeg(blur(data, detections, limits=limits)))
            answer["blurred"] = str(target)
    except ImageError as error:
        answer["error"] = {"code": error.code, "message": str(error)}
    except IsADirectoryError:
        message = f"{path} is a folder: name its photos, or give it to `featherface annotate`"
        answer["error"] = {"code": "file", "message": message}
    except OSError as error:
        answer["error"] = {"code": "file", "message": f"{error.strerror or error}: {error.filename or path}"}
    return answer


def _read(path: Path, max_bytes: int) -> bytes:
    # No more than shows that it is too much.
    if path == _STDIN:
        return sys.stdin.buffer.read(max_bytes + 1)
    with path.open("rb") as file:
        return file.read(max_bytes + 1)


def _free_name(folder: Path, stem: str, suffix: str) -> Path:
    """Return a name that no earlier picture has, in a folder that exists: photos may share their names."""
    folder.mkdir(parents=True, exist_ok=True)
    names = (f"{stem}{number}{suffix}" for number in ("", *(f"-{count}" for count in range(2, 1_000_000))))
    return next(folder / name for name in names if not (folder / name).exists())


def _add_validate(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "validate",
        help="prove that model files are the published ones",
        description="Compare size, SHA-256, parameter count and structure of model files with the manifest "
        "and with the published architecture. The exit code is 1 if one of them fails.",
    )
    parser.add_argument("path", nargs="?", type=Path, help="a model file; all installed models if omitted")
    parser.add_argument("--model", help="nano or v1; told by the file's name if omitted")
    parser.add_argument("--precision", help="fp32 or int8; told by the file's name if omitted")
    parser.set_defaults(func=_validate)


def _validate(arguments: argparse.Namespace) -> int:
    manifest = load_manifest()
    if arguments.path is not None:
        package, precision = identify(arguments.path, manifest, arguments.model, arguments.precision)
        chosen = [(arguments.path, package, precision)]
    else:
        chosen = [
            (file.path, package, kind)
            for package in manifest.models.values()
            for kind, file in package.files.items()
            if kind != "checkpoint"
            and arguments.model in (None, package.key)
            and arguments.precision in (None, kind)
        ]
    if not chosen:
        raise ModelManifestError(f"the manifest in {manifest.folder} lists no such model file")
    held = [_report(*choice) for choice in chosen]
    return _OK if all(held) else _FAILED


def _report(path: Path, package: ModelPackage, precision: str) -> bool:
    """Print the check list of one file; say whether all of it holds."""
    print(f"{package.name} {package.version}, {precision}: {path}")
    try:
        for check in check_model(read_model(path), package, precision):
            print(f"  ok    {check.name}: {check.detail}")
    except ModelIntegrityError as error:
        print(f"  FAIL  {error} [{error.code}]")
        return False
    return True
