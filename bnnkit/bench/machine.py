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
from bnnkit.bench.timing import seconds_on_gpu

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


MATRIX_INSTRUCTIONS = ("mma.k128", "mma.k256", "wgmma.k256")
"""Of a GPU; the last one is Hopper's."""


class MatrixLoop:
    """A sampler of a loop of one matrix instruction on all multiprocessors of the current GPU: bMAC/s."""

    def __init__(self, instruction: str) -> None:
        self.variant = instruction
        self.threads = 1
        self._loops = 1000

    def warm(self) -> float:
        return self._run()[0]

    def sample(self) -> float:
        seconds, macs = self._run()
        self._loops = max(1, round(self._loops * LIMIT_SLICE / seconds))
        return macs / seconds

    def _run(self) -> tuple[float, int]:
        like = torch.empty(0, device="cuda")
        torch.ops.bnnkit.matrix_rate(like, self.variant, 1)
        macs: list[int] = []
        seconds = seconds_on_gpu(lambda: macs.append(torch.ops.bnnkit.matrix_rate(like, self.variant, self._loops)))
        return seconds, macs[0]


def matrix_loops() -> list[MatrixLoop]:
    """Return the loops that the current GPU can run."""
    major, _ = torch.cuda.get_device_capability()
    return [MatrixLoop(name) for name in MATRIX_INSTRUCTIONS if major == 9 or (major >= 8 and name != "wgmma.k256")]


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
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
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
