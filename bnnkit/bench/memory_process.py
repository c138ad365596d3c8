"""The process whose peak memory is measured.

python -m bnnkit.bench.memory_process train|NETWORK SIDE BATCH WIDTH THREADS [VARIANT]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial

from bnnkit.bench import inference, machine
from bnnkit.bench.memory import STEPS, peak
from bnnkit.bench.step import Step


def main() -> None:
    """Train a few steps, or run a few batches through a network; print how many bytes that took above the imports."""
    parser = argparse.ArgumentParser()
    parser.add_argument("task")
    parser.add_argument("side")
    for number in ("batch", "width", "threads"):
        parser.add_argument(number, type=int)
    parser.add_argument("variant", nargs="?")
    given = parser.parse_args()
    machine.enter(given.threads, given.variant or machine.forced_by_environment())
    before = peak()
    step = _training(given) if given.task == "train" else _inference(given)
    for _ in range(STEPS):
        step()
    print(json.dumps({"bytes": peak() - before}))


def _training(given: argparse.Namespace) -> Callable[[], object]:
    return Step(given.side, given.batch, given.width)


def _inference(given: argparse.Namespace) -> Callable[[], object]:
    # The network itself as the side keeps it: without latent weights where it needs none.
    run = inference.side(given.side, inference.build(given.task, given.width))
    return partial(run, inference.random_images(given.batch))


if __name__ == "__main__":
    main()
