"""What the C library does with memory that was freed."""

from __future__ import annotations

import ctypes
import platform
from typing import Final

__all__ = ["keep_freed_memory"]

# mallopt(3): M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
_OPTIONS: Final = {-1: 64 * 1024 * 1024, -3: 16 * 1024 * 1024}


def keep_freed_memory() -> bool:
    """Let this process keep a photo's freed megabytes for the next photo.

    By default glibc gives them back, and the kernel hands them out again page by page, zeroed, while the
    threads of a process wait for each other's pages. At most 64 MiB for each of glibc's heaps are kept. The
    Lambda functions set the same by `MALLOC_*` in their environment, which a running process does not read.

    Returns
    -------
    bool
        Whether it was done: only glibc has it.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    return all(library.mallopt(option, value) == 1 for option, value in _OPTIONS.items())
