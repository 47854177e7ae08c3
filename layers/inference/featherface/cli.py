"""The command ``featherface``.

Other packages add subcommands through the entry point group ``featherface.commands``: each entry point names
a function ``command(subparsers)`` that registers a parser under the entry point's name and sets its defaults
``func``, a function from the parsed arguments to an exit code, and ``extra``, the optional dependencies it
needs. Only the subcommand that is asked for is imported (all of them for the help), so that a package whose
dependencies are missing costs nothing until it is used.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Final

import featherface
from featherface.config import Settings
from featherface.detecting import STOPPED, add_detect
from featherface.errors import FeatherFaceError, ModelIntegrityError, ModelManifestError
from featherface.packages import ModelPackage, load_manifest
from featherface.validation import check_model, identify, read_model

__all__ = ["COMMAND_GROUP", "main"]

COMMAND_GROUP: Final = "featherface.commands"

# What the commands of this project need that cannot say so themselves, since they cannot be imported.
_EXTRAS: Final = {"annotate": "batch", "evaluate": "evaluation"}
_OK, _FAILED, _USAGE = 0, 1, 2


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
        return STOPPED
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
    add_detect(subparsers)
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
            f"{entry.name} cannot be loaded: {error}; perhaps {_how(_EXTRAS.get(entry.name))}"
        ) from error


def _how(extra: str | None) -> str:
    # Not by its name: whoever has it on an index, it is not ours.
    if extra is None:
        return "install FeatherFace again: pip install . in the folder of its source"
    return f"install FeatherFace with it: pip install '.[{extra}]' in the folder of its source"


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
    named = {"model": arguments.model, "precision": arguments.precision}
    # Refuses what is no model and no precision, as every command does.
    Settings(**{name: value for name, value in named.items() if value is not None})
    manifest = load_manifest()
    if arguments.path is not None:
        # Before its name is judged: that it is not there is the nearer mistake.
        data = read_model(arguments.path)
        package, precision = identify(arguments.path, manifest, arguments.model, arguments.precision)
        return _OK if _report(arguments.path, data, package, precision) else _FAILED
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
    held = [_report(path, read_model(path), package, precision) for path, package, precision in chosen]
    return _OK if all(held) else _FAILED


def _report(path: Path, data: bytes, package: ModelPackage, precision: str) -> bool:
    """Print the check list of one file; say whether all of it holds."""
    print(f"{package.name} {package.version}, {precision}: {path}")
    try:
        for check in check_model(data, package, precision, path=path):
            print(f"  ok    {check.name}: {check.detail}")
    except ModelIntegrityError as error:
        print(f"  FAIL  {error} [{error.code}]")
        return False
    return True
