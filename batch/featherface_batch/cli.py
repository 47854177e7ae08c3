"""``featherface annotate SOURCE --output DEST``."""

from __future__ import annotations

import argparse
import logging
import sys
from typing import TYPE_CHECKING, Any

from featherface import load_settings
from featherface_batch.errors import BatchError, OutputMismatchError, SourceError, UsageError
from featherface_batch.stopping import Terminated, interrupted_by_sigterm

if TYPE_CHECKING:
    from featherface_batch.job import JobSummary

__all__ = ["command"]

_EPILOG = """\
The output is a run: the same command goes on where it was stopped, or adds formats. _SUCCESS appears in it
when every photo of the source has ended as one result or one coded error.

examples:
  featherface annotate photos --output faces
  featherface annotate s3://bucket/photos --output try --limit 200
  featherface annotate s3://bucket/photos --output s3://bucket/faces --format jsonl,coco
  featherface annotate photos --output faces --retry-errors
"""


def command(subparsers: Any) -> None:
    """Add the ``annotate`` command to the ``featherface`` command line."""
    parser = subparsers.add_parser(
        "annotate",
        help="find the faces of all photos of a folder or a bucket",
        description="Find the faces of all photos of a folder, a bucket, or a list.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="a folder, s3://bucket/prefix, a manifest, or an S3 Inventory's manifest.json",
    )
    parser.add_argument(
        "--output", required=True, metavar="DEST", help="a new or empty folder or s3://bucket/prefix"
    )
    parser.add_argument(
        "--format", default="jsonl,coco", metavar="LIST", help="output formats (default %(default)s)"
    )
    parser.add_argument(
        "--limit", type=int, metavar="N", help="the first N photos only, to try before all of them"
    )
    parser.add_argument("--endpoint-url", metavar="URL", help="of an S3 server that is not AWS")
    parser.add_argument(
        "--no-sign-request", action="store_true", help="read a bucket that is open to anyone, unsigned"
    )
    parser.add_argument(
        "--requester-pays", action="store_true", help="agree to pay where a bucket's owner asks for it"
    )
    parser.add_argument(
        "--profile", metavar="NAME", help="settings: production, edge_device, cloud_api or a YAML file"
    )
    parser.add_argument("--model", choices=("nano", "v1"))
    parser.add_argument(
        "--precision", choices=("fp32", "int8"), help="int8 is quicker on CPUs with VNNI (default fp32)"
    )
    parser.add_argument(
        "--input-size", type=int, metavar="PIXELS", help="long side of the model's input, 320 to 1024"
    )
    parser.add_argument(
        "--mirror",
        action="store_true",
        default=None,
        help="look at each photo in the mirror, too: more faces, twice the time",
    )
    parser.add_argument("--confidence", type=float, metavar="0..1", help="drop faces below it")
    parser.add_argument(
        "--timeout",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="to fetch a photo, and again to search it (default %(default)g)",
    )
    parser.add_argument("--max-errors", metavar="N|P%", help="stop when more photos fail (default: never)")
    parser.add_argument("--retry-errors", action="store_true", help="try photos again that ended as an error")
    parser.add_argument(
        "--previews", action="store_true", help="write a small picture of each photo, faces drawn"
    )
    parser.add_argument(
        "--blur", action="store_true", help="write a copy of each photo without recognisable faces"
    )
    parser.add_argument(
        "--cpu-hour-price",
        type=float,
        default=0.045,
        metavar="DOLLARS",
        help="for the cost (default %(default)s)",
    )
    parser.add_argument(
        "--gpu-hour-price", type=float, default=0.6, metavar="DOLLARS", help="(default %(default)s)"
    )
    parser.add_argument("--address", metavar="RAY", help="of a Ray cluster (default: an embedded Ray)")
    parser.add_argument("--cpus", type=int, metavar="N", help="CPUs for the embedded Ray (default: all)")
    parser.add_argument(
        "--worker-cpus", type=int, metavar="N", help="CPUs of one CPU worker (default: up to 4)"
    )
    parser.add_argument(
        "--gpu-worker-cpus",
        type=int,
        metavar="N",
        help="CPUs of one GPU worker, to decode (default: its share of its node's)",
    )
    parser.add_argument(
        "--worker-gpus", type=float, metavar="N", help="GPUs of one GPU worker (default: 0.25; 0: none)"
    )
    parser.add_argument(
        "--max-workers", type=int, metavar="N", help="bound of CPU workers, as a cluster grows"
    )
    parser.add_argument("--max-gpu-workers", type=int, metavar="N", help="bound of GPU workers")
    parser.set_defaults(func=_run, extra="batch")


def _run(args: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    logging.getLogger("botocore").setLevel(logging.WARNING)
    try:
        with interrupted_by_sigterm():
            # Imported here: the other commands must not wait for Ray and pyarrow.
            from featherface_batch.job import annotate

            summary = annotate(_config(args))
    except BatchError as error:
        print(f"featherface: error: {error} [{error.code}]", file=sys.stderr)
        return 2 if isinstance(error, UsageError | SourceError | OutputMismatchError) else 1
    except KeyboardInterrupt as stop:
        print("featherface: stopped; the same command goes on from here", file=sys.stderr)
        # as shells count: 128 and the signal
        return 143 if isinstance(stop, Terminated) else 130
    print(_told(summary))
    return 0


def _told(summary: JobSummary) -> str:
    """Return a run's end in a line."""
    from featherface_batch.records import counted

    photos, faces = counted(summary.photos, "photo"), counted(summary.faces, "face")
    if summary.annotated:
        rate = summary.annotated / summary.seconds if summary.seconds else 0.0
        now = f"{summary.annotated:,} of them annotated now, {rate:.1f} photos/s"
    else:
        now = "none was left to annotate, the formats are written anew"
    return (
        f"{photos}: {faces}, {counted(summary.errors, 'error')}; {now}. "
        f"Results: {summary.output}, see report.html"
    )


def _config(args: argparse.Namespace) -> Any:
    from featherface.runtime import usable_cpus
    from featherface_batch.job import JobConfig
    from featherface_batch.limits import ErrorLimit
    from featherface_batch.pool import Limits
    from featherface_batch.s3 import S3Options
    from featherface_batch.sinks import parse_formats

    return JobConfig(
        source=args.source,
        output=args.output,
        settings=load_settings(
            args.profile,
            overrides={
                "model": args.model,
                "precision": args.precision,
                "input_size": args.input_size,
                "mirror": args.mirror,
                "confidence_threshold": args.confidence,
            },
        ),
        formats=parse_formats(args.format),
        s3=S3Options(
            endpoint_url=args.endpoint_url,
            anonymous=args.no_sign_request,
            requester_pays=args.requester_pays,
        ),
        limit=args.limit,
        address=args.address,
        cpus=usable_cpus() if args.cpus is None else args.cpus,
        workers=Limits(
            args.worker_cpus,
            args.worker_gpus,
            args.max_workers,
            args.max_gpu_workers,
            args.gpu_worker_cpus,
        ),
        timeout=args.timeout,
        max_errors=ErrorLimit() if args.max_errors is None else ErrorLimit.parse(args.max_errors),
        retry_errors=args.retry_errors,
        previews=args.previews,
        blur=args.blur,
        dollars_per_cpu_hour=args.cpu_hour_price,
        dollars_per_gpu_hour=args.gpu_hour_price,
    )
