"""The time of init, and of the first request and message after it."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
from importlib.util import find_spec
from pathlib import Path

from layers.emulator import PHOTO, Setup, function, init_ms, invocations_ms, invoke, photo_event
from layers.measurements import cloud
from layers.measurements.spread import beside, spread

__all__ = ["measure"]

_EMPTY = """
def lambda_handler(event, context):
    return {"statusCode": 200, "body": "{}"}
"""

_BARE = """
import numpy, onnxruntime, PIL.Image
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
SESSION = onnxruntime.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])

def lambda_handler(event, context):
    return {"statusCode": 200, "body": "{}"}
"""

# what the function would have to import for Powertools' event handler, in its own way
_POWERTOOLS = """
from shared.collector import collector_paused

with collector_paused():
    from aws_lambda_powertools.event_handler import APIGatewayRestResolver

    APP = APIGatewayRestResolver(enable_validation=VALIDATION)
from detect.handler import lambda_handler
"""

_MODEL = "featherface/models/nano_efficient/featherface_nano.onnx"
_BUDGET = 1.25


def measure(setup: Setup, folder: Path, rounds: int) -> None:
    """Measure in turns and print."""
    probes = _probes(setup, folder / "probes")
    powertools = _powertools(setup, folder / "powertools")
    kinds = {
        "an empty function": ("empty", ()),
        "bare": ("bare", ()),
        "detect": ("detect.handler", ()),
        "ingest": ("ingest.handler", ()),
        "detect with Powertools' event handler": ("routed", (powertools,)),
        "the same with validation": ("validated", (powertools,)),
    }
    inits: dict[str, list[float]] = {name: [] for name in kinds}
    firsts: dict[str, list[float]] = {"detect": [], "ingest": []}
    laters: dict[str, list[float]] = {"detect": [], "ingest": []}
    photo, log = PHOTO.read_bytes(), folder / "log"
    with cloud.served() as url:
        messages = [json.dumps(cloud.upload(url, f"{number}.jpg", photo)).encode() for number in range(5)]
        requests = [json.dumps(photo_event(photo)).encode()] * 5
        for number in range(rounds):
            # in another order each time: whoever comes after the longest run finds the machine otherwise
            turn = number % len(kinds)
            for name, (module, ahead) in [*kinds.items()][turn:] + [*kinds.items()][:turn]:
                environ = setup.environ(setup.functions, probes, AWS_ENDPOINT_URL=url)
                if ahead:
                    environ["PYTHONPATH"] = f"{ahead[0]}:{environ['PYTHONPATH']}"
                # each round's messages are new to the tables that remember the last round's
                environ["INDEX_TABLE"], environ["IDEMPOTENCY_TABLE"] = f"index-{number}", f"seen-{number}"
                if name == "ingest":
                    cloud.create_tables(url, environ["INDEX_TABLE"], environ["IDEMPOTENCY_TABLE"])
                with function(setup, module, log, environ) as address:
                    for event in messages if name == "ingest" else requests:
                        answer = invoke(address, event)
                        if answer.get("batchItemFailures") or answer.get("statusCode", 200) != 200:
                            raise RuntimeError(f"{name} answered {answer}; its log is\n{log.read_text()}")
                inits[name].append(init_ms(log))
                if name in firsts:
                    first, *later = invocations_ms(log)
                    firsts[name].append(first)
                    laters[name].append(statistics.median(later))
    print(f"init in ms, median of {rounds} (and where half of them lie), and beside bare of the same round")
    for name, values in inits.items():
        ratio = "" if name == "an empty function" else f"{beside(values, inits['bare'])} x"
        print(f"  {name:40s} {spread(values):24s} {ratio}")
    print(f"  the budget is {_BUDGET} x")
    for name, what in (("detect", "request"), ("ingest", "message")):
        more = [first - later for first, later in zip(firsts[name], laters[name], strict=True)]
        print(f"first {what} of {name}: {spread(firsts[name])} ms, {spread(more)} more than later ones")


def _probes(setup: Setup, folder: Path) -> Path:
    folder.mkdir()
    (folder / "empty.py").write_text(_EMPTY)
    (folder / "bare.py").write_text(_BARE.replace("MODEL", repr(str(setup.layer / _MODEL))))
    (folder / "routed.py").write_text(_POWERTOOLS.replace("VALIDATION", "False"))
    (folder / "validated.py").write_text(_POWERTOOLS.replace("VALIDATION", "True"))
    return _compiled(setup, folder)


def _powertools(setup: Setup, folder: Path) -> Path:
    """Lay out the whole of Powertools, of which the layer has a part."""
    spec = find_spec("aws_lambda_powertools")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("run this in the project's environment, which has Powertools")
    source = spec.submodule_search_locations[0]
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(source, folder / "aws_lambda_powertools", ignore=ignore)
    return _compiled(setup, folder)


def _compiled(setup: Setup, folder: Path) -> Path:
    subprocess.run([str(setup.python), "-m", "compileall", "-q", str(folder)], check=True)
    return folder
