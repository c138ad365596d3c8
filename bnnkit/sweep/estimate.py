"""How long a cell would take, before it runs."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping

from bnnkit.errors import UsageError
from bnnkit.sweep.cell import Cell
from bnnkit.sweep.executor import PROGRAM


def seconds_of_training(cell: Cell) -> float:
    """Return how long a training would take, from a few of its steps.

    Raises:
        UsageError: its options are refused; the message is the command's own.
    """
    words = [*PROGRAM, *cell.words(None), "--dry-run", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        raise UsageError(f"{cell.line}: {(said or ['failed'])[-1].removeprefix('error: ')}", hint=cell.line)
    document: Mapping[str, float] = json.loads(done.stdout)
    return document["seconds_of_all_runs"]
