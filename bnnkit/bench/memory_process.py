"""The process whose peak memory is measured.

python -m bnnkit.bench.memory_process SIDE BATCH WIDTH THREADS [VARIANT]
"""

from __future__ import annotations

import argparse
import json

from bnnkit.bench import machine
from bnnkit.bench.memory import STEPS, peak
from bnnkit.bench.step import Step


def main() -> None:
    """Train a few steps and print how many bytes that took above the imports."""
    parser = argparse.ArgumentParser()
    parser.add_argument("side")
    for number in ("batch", "width", "threads"):
        parser.add_argument(number, type=int)
    parser.add_argument("variant", nargs="?")
    given = parser.parse_args()
    machine.enter(given.threads, given.variant or machine.forced_by_environment())
    before = peak()
    step = Step(given.side, given.batch, given.width)
    for _ in range(STEPS):
        step()
    print(json.dumps({"bytes": peak() - before}))


if __name__ == "__main__":
    main()
