"""Peak memory of training steps, each side in a process of its own: peaks of one process never come down again."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

STEPS = 2
STATUS = Path("/proc/self/status")


def peak_of_training(side: str, batch: int, width: int, threads: int, variant: str | None) -> int:
    """Return the most bytes that `STEPS` steps of training held above what the imports already had.

    Network, optimizer and images count: a person needs them too.

    Raises:
        RuntimeError: the process failed.
    """
    return _peak_of("train", side, batch, width, threads, variant)


def peak_of_inference(side: str, network: str, batch: int, width: int, threads: int, variant: str | None) -> int:
    """Return the most bytes that two batches through a network held above what the imports already had.

    Building the network counts, with the training pass that fits its normalizations; see `inference.side`.

    Raises:
        RuntimeError: the process failed.
    """
    return _peak_of(network, side, batch, width, threads, variant)


def _peak_of(task: str, side: str, batch: int, width: int, threads: int, variant: str | None) -> int:
    sizes = [str(number) for number in (batch, width, threads)]
    command = [sys.executable, "-m", "bnnkit.bench.memory_process", task, side, *sizes]
    done = subprocess.run(command + ([variant] if variant else []), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"memory of {side}: exit code {done.returncode}\n{done.stderr}")
    return int(json.loads(done.stdout)["bytes"])


def peak() -> int:
    """Return the most bytes of memory this process has held.

    Linux's own count is preferred: `getrusage` keeps the peak of the program that started this one.
    """
    if STATUS.exists():
        lines = STATUS.read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
