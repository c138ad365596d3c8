"""Freed memory that stays with the process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

# malloc.h and the defaults of mallopt(3)
MALLOC_TRIM_THRESHOLD, DEFAULT_TRIM_THRESHOLD = -1, 128 * 1024
MALLOC_MMAP_MAX, DEFAULT_MMAP_MAX = -4, 65536


@contextmanager
def kept_memory() -> Iterator[bool]:
    """Let freed memory stay with the process meanwhile, where the C library can (glibc); say whether it does.

    The outputs of a layer, tens of megabytes, would else come from the system anew for every call, and the page faults
    take as long as a fast kernel.
    """
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is None:
        yield False
        return
    kept = bool(mallopt(MALLOC_MMAP_MAX, 0) and mallopt(MALLOC_TRIM_THRESHOLD, 2**31 - 1))
    try:
        yield kept
    finally:
        mallopt(MALLOC_MMAP_MAX, DEFAULT_MMAP_MAX)
        mallopt(MALLOC_TRIM_THRESHOLD, DEFAULT_TRIM_THRESHOLD)
