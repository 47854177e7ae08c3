"""Freed memory stays with the process: counted in page faults."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, resource, sys
from featherface_batch.heap import keep_freed_memory

if sys.argv[1] == "kept":
    assert keep_freed_memory()
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
library.malloc.argtypes = [ctypes.c_size_t]
library.free.argtypes = [ctypes.c_void_p]
size = 10 * 1024 * 1024

def photo():
    blocks = [library.malloc(size) for _ in range(4)]
    for block in blocks:
        ctypes.memset(block, 1, size)
    for block in blocks:
        library.free(block)

photo()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    photo()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_memory_of_one_photo_serves_the_next() -> None:
    def faults(mode: str) -> int:
        run = subprocess.run(
            [sys.executable, "-c", PROGRAM, mode], capture_output=True, text=True, check=True
        )
        return int(run.stdout)

    # 200 MB are 51,200 pages of 4 KiB
    assert faults("kept") < 1000 < faults("given back")
