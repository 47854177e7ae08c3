"""`featherface evaluate`: accuracy on WIDER FACE val, whole or partial."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

__all__ = ["command", "parse_size"]

# One cell of the coarsest level.
_LEAST = 32


def parse_size(text: str) -> int | str:
    """Read a long side in pixels, or "original", for argparse."""
    if text == "original":
        return text
    try:
        size = int(text)
    except ValueError:
        size = 0
    if size < _LEAST:
        raise argparse.ArgumentTypeError(f"expected at least {_LEAST} pixels or 'original', got {text!r}")
    return size


def command(subparsers: Any) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "evaluate",
        help="average precision on WIDER FACE val",
        description="Average precision (easy, medium, hard) on those photos of WIDER FACE val that exist.",
    )
    parser.add_argument("--wider", type=Path, required=True, help="WIDER FACE root (holds WIDER_val/images)")
    parser.add_argument("--ground-truth", type=Path, required=True, help="folder of the official .mat files")
    parser.add_argument(
        "--model", action="append", help="v1, nano, or a path; repeat to compare (default: both)"
    )
    events = parser.add_mutually_exclusive_group()
    events.add_argument(
        "--event", action="append", help="photos of this event alone, such as 0--Parade; repeat for more"
    )
    events.add_argument(
        "--without-event", action="append", help="photos of all events but this; repeat for more"
    )
    parser.add_argument(
        "--size", type=parse_size, default=640, help="long side in pixels, or 'original' (default 640)"
    )
    parser.add_argument("--square", action="store_true", help="pad to a square of --size")
    parser.add_argument("--mirror", action="store_true", help="our models look at each photo twice")
    parser.add_argument("--threads", type=int, default=0, help="threads of the session (default: all)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(func=run, extra="evaluation")


def run(args: argparse.Namespace) -> int:
    """Evaluate and print a row per model."""
    from .detectors import open_detector
    from .errors import EvaluationError
    from .events import of_events
    from .ground_truth import read_ground_truth
    from .protocol import DIFFICULTIES, evaluate
    from .run import find_photos, predict

    try:
        if args.square and args.size == "original":
            raise EvaluationError("--square needs a --size in pixels")
        truth = read_ground_truth(args.ground_truth)
        photos = find_photos(args.wider, truth)
        if events := args.event or args.without_event:
            photos = of_events(photos, events, others=not args.event)
        rows = []
        for model in args.model or ["v1", "nano"]:
            detect = open_detector(
                model, args.size, square=args.square, mirror=args.mirror, threads=args.threads
            )
            curves = evaluate(predict(detect, photos), truth)
            rows.append(
                {
                    "model": Path(model).name,
                    "photos": len(photos),
                    "size": args.size,
                    "mirror": args.mirror,
                    **{d: round(curves[d].average_precision, 4) for d in DIFFICULTIES},
                    "faces": {d: curves[d].faces for d in DIFFICULTIES},
                }
            )
    except EvaluationError as error:
        print(f"featherface evaluate: {error}", file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps(rows, indent=2))
        return 0
    faces = rows[0]["faces"]
    look = ", mirrored too" if args.mirror else ""
    counted = ", ".join(f"{d} {faces[d]}" for d in DIFFICULTIES)
    print(f"WIDER FACE val, {len(photos)} photos, size {args.size}{look}; faces that count: {counted}")
    for row in rows:
        print(f"{row['model']:28} " + " / ".join(f"{row[d]:.4f}" for d in DIFFICULTIES))
    return 0
