"""A function in a process of its own, as in Lambda: a line of JSON is an event, one comes back as answer."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["FunctionProcess", "running"]

ROOT = Path(__file__).parents[3]


class FunctionProcess:
    """One environment of a function, which takes one event at a time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __call__(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Invoke the function."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(event) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


@contextmanager
def running(module: str, environ: Mapping[str, str], log: Path) -> Iterator[FunctionProcess]:
    """Start a function whose log goes to a file."""
    folders = f"{Path(__file__).parent}:{ROOT / 'functions'}"
    with (
        log.open("w") as out,
        subprocess.Popen(
            [sys.executable, "-m", "function_process", module],
            env={"PATH": os.environ["PATH"], **environ, "PYTHONPATH": folders},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=out,
            text=True,
        ) as process,
    ):
        yield FunctionProcess(process)
        assert process.stdin
        process.stdin.close()


class _Context:
    function_name, memory_limit_in_mb = "featherface-test", 1769
    invoked_function_arn = "arn:aws:lambda:us-east-1:000000000000:function:featherface-test"

    def __init__(self) -> None:
        self.aws_request_id = str(uuid.uuid4())

    def get_remaining_time_in_millis(self) -> int:
        return 60_000


def _serve(module: str) -> None:
    # standard output is the functions' for metrics: answers keep the pipe, all else goes to the log
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    handler = importlib.import_module(module).lambda_handler
    for line in sys.stdin:
        answers.write(json.dumps(handler(json.loads(line), _Context())) + "\n")
        answers.flush()


if __name__ == "__main__":
    _serve(sys.argv[1])
