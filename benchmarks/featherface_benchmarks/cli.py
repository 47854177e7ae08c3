"""`featherface benchmark`: speed on this machine, as ratios from one run."""

from __future__ import annotations

import argparse
import platform
import sys
from datetime import date
from pathlib import Path
from typing import Any

__all__ = ["command"]


def command(subparsers: Any) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "benchmark",
        help="measure speed on this machine",
        description="Times our networks, interleaved with peers' if given, and a photo's way stage by stage.",
    )
    parser.add_argument("photos", nargs="*", type=Path, metavar="PHOTO", help="default: one made photo")
    parser.add_argument(
        "--model", action="append", help="nano, v1, nano:int8 or v1:int8; repeat (default nano and v1)"
    )
    parser.add_argument("--peer", action="append", type=Path, default=[], help="an ONNX file to compare with")
    parser.add_argument("--size", type=int, default=640, help="long side in pixels (default %(default)s)")
    parser.add_argument("--mirror", action="store_true", help="in the second table, look at photos twice")
    parser.add_argument("--threads", type=int, default=1, help="threads of a session (default %(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=30, help="interleaved runs of each (default %(default)s)"
    )
    parser.set_defaults(func=run)


def _photo(path: Path) -> bytes:
    """Return a photo's bytes; raises the package's errors if it is none, with its name."""
    from featherface import ConfigurationError, ImageError, Settings
    from featherface.images import decode

    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror or error}") from error
    try:
        decode(data, limits=Settings().image_limits)
    except ImageError as error:
        raise type(error)(f"{path}: {error}") from error
    return data


def _check(args: argparse.Namespace) -> None:
    from featherface import ConfigurationError

    if args.size < 128 or args.size % 128:
        raise ConfigurationError(f"--size must be a multiple of 128, for an input of 4:3; got {args.size}")
    for name in ("rounds", "threads"):
        if getattr(args, name) < 1:
            raise ConfigurationError(f"--{name} must be at least 1; got {getattr(args, name)}")


def _refused(error: Exception) -> int:
    """Say in the form of every command what cannot be measured."""
    print(f"featherface: error: {error} [{getattr(error, 'code', 'configuration')}]", file=sys.stderr)
    return 2


def run(args: argparse.Namespace) -> int:
    """Measure and print two tables."""
    from featherface import FeatherFaceError

    from .inference import made_photo, network_contest, photo_stages

    models = args.model or ["nano", "v1"]
    shape = (args.size * 3 // 4, args.size)
    try:
        _check(args)
        photos = [_photo(path) for path in args.photos] or [made_photo()]
        contest = network_contest(models, args.peer, shape=shape, threads=args.threads, rounds=args.rounds)
        rounds = max(2, args.rounds // 3)
        stages = photo_stages(
            models, photos, size=args.size, threads=args.threads, rounds=rounds, mirror=args.mirror
        )
    except (FeatherFaceError, OSError, ValueError) as error:
        return _refused(error)
    threads = f"{args.threads} thread{'s' if args.threads > 1 else ''}"
    print(f"{date.today()}, {platform.machine()}, Python {platform.python_version()}, {threads}")
    print(f"\nnetwork alone at {shape[1]}x{shape[0]}, median of {args.rounds} interleaved runs")
    first = contest[0].median
    for row in contest:
        print(f"  {row.name:24} {row.median:8.1f} ms   {row.median / first:5.2f}x {contest[0].name}")
    what = f"{len(photos)} photos" if args.photos else "a made photo of 1280x960"
    look = ", each seen twice" if args.mirror else ""
    print(f"\na photo's way at long side {args.size}, median over {what}{look}")
    print(f"  {'model':24} {'decode':>8} {'resize':>8} {'infer':>8}   photos/s")
    for stage in stages:
        print(
            f"  {stage.model:24} {stage.decode:8.1f} {stage.resize:8.1f} {stage.infer:8.1f}   "
            f"{stage.photos_per_second:8.1f}"
        )
    return 0
