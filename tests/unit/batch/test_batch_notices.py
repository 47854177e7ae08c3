"""One line of a library is kept off standard error; everything else comes through."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import os, subprocess, sys
from featherface_batch.notices import without_line

print("before", file=sys.stderr)
try:
    with without_line("Set ray log level"):
        os.write(2, b"[I 1 1] logging.cc:303: Set ray log level from X to 3\\n")
        print("python", file=sys.stderr)
        subprocess.run(["sh", "-c", "echo child >&2"], check=True)
        {end}
finally:
    print("after", file=sys.stderr)
"""


def said(end: str) -> list[str]:
    command = [sys.executable, "-c", PROGRAM.format(end=end)]
    return subprocess.run(command, check=False, capture_output=True, text=True).stderr.splitlines()


def test_only_the_line_is_left_out_and_the_order_stays() -> None:
    assert said("pass") == ["before", "python", "child", "after"]


def test_an_error_inside_loses_nothing() -> None:
    lines = said("raise ValueError('broken')")
    assert lines[:4] == ["before", "python", "child", "after"]
    assert lines[-1] == "ValueError: broken"


def test_a_process_without_standard_error_goes_on() -> None:
    closed = "import os; os.close(2); " + (
        "from featherface_batch.notices import without_line\nwith without_line('x'): print('inside')"
    )
    done = subprocess.run([sys.executable, "-c", closed], check=True, capture_output=True, text=True)
    assert done.stdout == "inside\n"
