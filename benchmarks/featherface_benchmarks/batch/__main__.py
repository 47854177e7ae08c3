"""The benchmarks' command line."""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featherface.runtime import usable_cpus
from featherface_benchmarks.batch.arguments import (
    contestants,
    folder_of_photos,
    number_above,
    photos_of,
    whole_number,
)
from featherface_benchmarks.batch.goals import Goal

if TYPE_CHECKING:
    from featherface_benchmarks.batch.turns import Turns


def _speed(args: argparse.Namespace) -> list[Goal]:
    from featherface_benchmarks.batch.goals import speed_goals

    photos = photos_of(args.folder)
    print(f"{args.count} photos ({_repeated(photos, args.count)}), {args.cpus} CPU(s)")
    return speed_goals(_by_turns(photos, args.only, args), args.cpus)


def _by_turns(photos: list[Path], names: Sequence[str], args: argparse.Namespace) -> dict[str, Turns]:
    from featherface_benchmarks.batch.speed import HEAD, LOOP, compare, row

    print(
        f"turns of {args.turn:g} s, until the fastest has done all photos; memory: the peak of the first "
        f"{args.few}, and of all done",
        flush=True,
    )
    found = compare(photos, names, count=args.count, few=args.few, cpus=args.cpus, turn=args.turn)
    print(HEAD)
    for turns in found.values():
        print(row(turns, found[LOOP]))
    return found


def _large(args: argparse.Namespace) -> list[Goal]:
    import tempfile

    from featherface_benchmarks.batch.goals import large_photo_goals
    from featherface_benchmarks.batch.large_photos import accuracy, enlarged

    with tempfile.TemporaryDirectory() as folder:
        photos = enlarged(photos_of(args.folder)[: args.different], Path(folder, "large"))
        size = sum(photo.stat().st_size for photo in photos) / len(photos)
        print(
            f"{args.count} photos of 12 megapixels ({_repeated(photos, args.count)}), {size / 1e6:.1f} MB "
            f"each, {args.cpus} CPU(s)"
        )
        found = _by_turns(photos, ("annotate", "annotate-full"), args)
    levels = {}
    if args.wider and args.ground_truth:
        for way, precision in accuracy(args.wider, args.ground_truth, args.model):
            levels[way] = precision
            figures = ", ".join(f"{level} {value:.4f}" for level, value in precision.items())
            print(f"AP on WIDER FACE val enlarged to 12 megapixels, {way} decoding: {figures}", flush=True)
    return large_photo_goals(found["annotate"].rate / found["annotate-full"].rate, levels)


def _delay(args: argparse.Namespace) -> list[Goal]:
    from featherface_benchmarks.batch.delay import compare_delays
    from featherface_benchmarks.batch.goals import delay_goal

    photos = photos_of(args.folder)
    print(
        f"{args.count} photos in S3 ({_repeated(photos, args.count)}), {args.cpus} CPU(s), "
        f"{args.milliseconds:g} ms more on each request"
    )
    ratios = []
    for near, far in compare_delays(
        photos, count=args.count, cpus=args.cpus, rounds=args.rounds, milliseconds=args.milliseconds
    ):
        ratios.append(far / near)
        print(f"without {near:7.1f} photos/s   with {far:7.1f}   ratio {far / near:.2f}", flush=True)
    return [delay_goal(ratios, args.milliseconds)]


def _repeated(photos: list[Path], count: int) -> str:
    if len(photos) >= count:
        return "all different"
    return f"{len(photos)} different ones, again and again under other names"


def _planning(args: argparse.Namespace) -> list[Goal]:
    from featherface_benchmarks.batch.planning import measure_planning

    print(
        f"{'rows':>12} {'rows/s':>9} {'peak MiB':>9} {'plan MiB':>9} {'parts':>6} {'shards':>8}", flush=True
    )
    for rows in args.rows:
        found = measure_planning(rows)
        print(
            f"{rows:12,} {rows / found['seconds']:9,.0f} {found['peak_mib']:9.0f} {found['plan_mib']:9.1f} "
            f"{found['parts']:6.0f} {found['shards']:8.0f}",
            flush=True,
        )
    return []


def _sinks(args: argparse.Namespace) -> list[Goal]:
    from featherface_batch.sinks import FORMATS
    from featherface_benchmarks.batch.sinks import measure_sinks

    print(f"{args.count} results of two faces, one writer; photos per CPU second")
    for formats in (*((name,) for name in FORMATS), ("coco", "jsonl", "parquet")):
        print(f"  {', '.join(formats):22} {measure_sinks(formats, args.count):9,.0f}", flush=True)
    return []


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one benchmark.

    Parameters
    ----------
    arguments : sequence of str, optional
        The process's arguments if omitted.
    """
    parser = argparse.ArgumentParser(prog="python -m featherface_benchmarks.batch", description=__doc__)
    what = parser.add_subparsers(required=True, metavar="WHAT")

    def add(name: str, run: Callable[[argparse.Namespace], list[Goal]], text: str) -> argparse.ArgumentParser:
        sub = what.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    def add_run(name: str, run: Callable[[argparse.Namespace], list[Goal]], text: str, count: int) -> Any:
        sub = add(name, run, text)
        sub.add_argument(
            "folder", type=folder_of_photos, help="photos; used again and again if there are too few"
        )
        sub.add_argument(
            "--count", type=whole_number, default=count, help="photos of a run (default %(default)s)"
        )
        sub.add_argument("--cpus", type=whole_number, default=usable_cpus(), help="(default: all usable)")
        return sub

    def add_turns(sub: argparse.ArgumentParser, few: int, turn: float) -> None:
        sub.add_argument(
            "--few", type=whole_number, default=few, help="photos before the turns begin (%(default)s)"
        )
        sub.add_argument("--turn", type=number_above(0), default=turn, help="seconds (default %(default)s)")

    speed = add_run("speed", _speed, "rate, CPU, memory beside a plain loop, a pool and a Ray script", 5000)
    # Processes that were stopped seem to make up for it when they go on, Ray's many more than others.
    add_turns(speed, 500, 20.0)
    speed.add_argument(
        "--only",
        type=contestants,
        default="annotate,pool,ray-script",
        metavar="LIST",
        help="contestants beside the plain loop, with commas between (default %(default)s)",
    )
    large = add_run("large-photos", _large, "scaled against full decoding of 12 megapixels", 500)
    add_turns(large, 50, 3.0)
    large.add_argument(
        "--different", type=whole_number, default=40, help="photos to enlarge (default %(default)s)"
    )
    large.add_argument("--wider", type=folder_of_photos, help="WIDER FACE root, to compare the accuracy too")
    large.add_argument("--ground-truth", type=folder_of_photos, help="folder of the official .mat files")
    large.add_argument("--model", default="nano", choices=("nano", "v1"))
    delay = add_run("delay", _delay, "rate over S3 with and without a delay on each request", 1500)
    delay.add_argument("--rounds", type=whole_number, default=1, help="(default %(default)s)")
    delay.add_argument(
        "--milliseconds",
        type=number_above(0, included=True),
        default=50,
        help="the delay (default %(default)s)",
    )
    planning = add("planning", _planning, "memory and time of planning")
    planning.add_argument("--rows", type=whole_number, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    sinks = add("sinks", _sinks, "photos per second that one writer writes")
    sinks.add_argument("--count", type=whole_number, default=60_000, help="(default %(default)s)")

    args = parser.parse_args(arguments)
    if "few" in args and args.few >= args.count:
        parser.error(
            f"--few must be less than --count, which counts them, too; got {args.few} of {args.count}"
        )
    if "wider" in args and bool(args.wider) != bool(args.ground_truth):
        parser.error(
            "--wider and --ground-truth are wanted together: photos, and what is to be found in them"
        )
    print(f"{date.today()}, {platform.machine()}, Python {platform.python_version()}", flush=True)
    if goals := args.run(args):
        print("\ngoals:")
        for goal in goals:
            print(f"  {goal}")


if __name__ == "__main__":
    main()
