"""Measure what ``make layer`` built with Lambda's real runtime client under the runtime interface emulator.

    python -m layers.measure_lambda --python PYTHON3.13 --emulator RIE [init] [handler] [memory]

PYTHON3.13 is an interpreter of the runtime's version with ``awslambdaric``, ``boto3`` and ``pydantic``. The
command itself runs in the project's environment, whose Powertools and moto it takes. All figures of a run are
taken in turns, so that they can be set beside each other.

``init``
    From the start of the process to the request for the first event, as the emulator reports it: of a
    handler that imports nothing; of ``import numpy, onnxruntime, PIL.Image`` and one session of the same
    model, its file neither hashed nor looked at (bare); of the functions; and of the API's function with
    Powertools' event handler, without and with its validation. Then the first request and the first message.
``handler``
    What the API's handler takes for a request, less decoding, inference and fetching from S3.
``memory``
    Peaks with photos of several sizes, the largest that the edge profile accepts among them.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from layers.emulator import ROOT, Setup
from layers.measurements import handler, init, memory

MEASUREMENTS = {"init": init.measure, "handler": handler.measure, "memory": memory.measure}


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--python", type=Path, required=True)
    parser.add_argument("--emulator", type=Path, required=True)
    parser.add_argument("--build", type=Path, default=ROOT / "build", help="what make layer wrote")
    parser.add_argument("--rounds", type=int, default=15, help="inits of each kind")
    parser.add_argument("what", nargs="*", metavar="|".join(MEASUREMENTS), default=list(MEASUREMENTS))
    options = parser.parse_args()
    if unknown := sorted(set(options.what) - MEASUREMENTS.keys()):
        parser.error(f"nothing measures {', '.join(unknown)}")
    # the functions run in folders of their own; an environment's interpreter is a link that must stay one
    setup = Setup(options.python.absolute(), options.emulator.absolute(), options.build.absolute())
    print(f"on {len(os.sched_getaffinity(0))} cores", flush=True)
    for name in dict.fromkeys(options.what):
        with tempfile.TemporaryDirectory() as folder:
            MEASUREMENTS[name](setup, Path(folder), options.rounds)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
