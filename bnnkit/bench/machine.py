"""The machine that is measured: threads, kernel variants, and how fast its registers could possibly be."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch

from bnnkit import ops, runs

POPCOUNT_LOOP = "avx512"
"""The variant whose limit loop is XOR + VPOPCNTQ + VPADDQ, the yardstick of every other."""

LIMIT_SLICE = 0.02
POOL_WAKING_ELEMENTS = 1 << 20


def usable_cores() -> int:
    """Return how many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def enter(threads: int, variant: str | None) -> None:
    """Let the following calls use `threads` threads and kernels up to `variant` (None: the highest)."""
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
        # Otherwise the first timed call would pay for starting the threads.
        torch.empty(POOL_WAKING_ELEMENTS).fill_(0)
    ops.force_variant(variant)


def forced_by_environment() -> str | None:
    """Return the variant that BNNKIT_VARIANT asks for."""
    return os.environ.get("BNNKIT_VARIANT") or None


@contextmanager
def restored() -> Iterator[None]:
    """Put threads and variant back afterwards."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        ops.force_variant(forced_by_environment())


class LimitLoop:
    """A sampler of the register-only loop of `variant`: bMAC/s, on `threads` threads at the same time."""

    def __init__(self, variant: str, threads: int) -> None:
        self.variant = variant
        self.threads = threads

    def warm(self) -> float:
        return LIMIT_SLICE

    def sample(self) -> float:
        loop = ops.load().machine_limit
        with ThreadPoolExecutor(self.threads) as pool:
            return float(sum(pool.map(lambda _: loop(self.variant, LIMIT_SLICE), range(self.threads))))


def describe(argv: Sequence[str]) -> dict[str, Any]:
    """Return the hardware, the versions and the command line, as JSON values."""
    stamp = runs.stamp(argv)
    build = ops.load().build_info()
    return {
        "command": [*argv],
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "hardware": {
            "cpu": stamp["cpu"],
            "cores": usable_cores(),
            "features": ops.cpu_features(),
            "platform": stamp["platform"],
            "load_average": [*os.getloadavg()] if hasattr(os, "getloadavg") else None,
        },
        "versions": {
            "bnnkit": stamp["bnnkit"],
            "commit": stamp["commit"],
            "python": stamp["python"],
            "torch": stamp["torch"],
            "compiler": build["compiler"],
        },
    }
