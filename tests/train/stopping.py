"""Trainings that are stopped somewhere, and what of a run must not depend on that."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from bnnkit import checkpoint
from bnnkit.runs import Run
from bnnkit.train import Plan, Silent, start
from bnnkit.train.interrupt import StopRequest

CLOCKS = ("seconds", "images_per_second")


def fingerprint(run: Run) -> dict[str, Any]:
    """Everything in a finished run that must not depend on interruptions."""
    found: dict[str, Any] = {}
    for path in (run.last, run.best):
        stored = checkpoint.read(path)
        found |= {f"{path.name}:{name}": value.tolist() for name, value in stored.tensors.items()}
        position = stored.metadata.get("position", {})
        found[path.name] = {name: value for name, value in position.items() if "seconds" not in name}
    found["metrics"] = [{k: v for k, v in record.items() if k not in CLOCKS} for record in run.read_metrics()]
    found["results"] = {k: v for k, v in run.read_json("results.json").items() if k not in CLOCKS}
    return found


class StopAt(Silent):
    """Asks to stop when a piece of work has come so far."""

    def __init__(self, what: str, done: int) -> None:
        self.stop = StopRequest()
        self._at = (what, done)

    def work(self, what: str, done: int, total: int, detail: str = "") -> None:
        if (what, done) == self._at:
            self.stop.signal = "SIGTERM"


def start_and_stop(plan: Plan, root: Path, watcher: StopAt) -> None:
    """Do what `start` does with a stop request of our own instead of a signal."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bnnkit.train.session.stop_on_signals", lambda: nullcontext(watcher.stop))
        start(plan, watcher, argv=[], root=root)
