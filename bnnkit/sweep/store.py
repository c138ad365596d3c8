"""Cells on disk: what is finished is found again by its key, whatever sweep it was computed for.

runs/sweep/cells/<key>/
    cell.json       what the cell is
    result.json     what its command printed, and how long it took; present when the cell is finished
    out.json        what its command is printing
    log.txt         what it said on the way, the last time it ran
    runs/           its run directory: a training that was stopped continues there
    lock            held by the process that computes it
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from bnnkit import runs
from bnnkit.atomic import write_text
from bnnkit.errors import MismatchError, MissingError
from bnnkit.runs import Run
from bnnkit.sweep.cell import Cell
from bnnkit.sweep.measured import measured

KEPT = ("--threads", "--data-dir")
"""Options that a run to be continued may not remember."""


@dataclass(frozen=True)
class Result:
    """What the command of a finished cell printed with `--json`, and the seconds it took."""

    document: Mapping[str, Any]
    seconds: float


class Store:
    """The cells below `root`, usually runs/sweep/cells."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, cell: Cell) -> Path:
        """Return where a cell is kept."""
        return self.root / cell.key

    def begin(self, cell: Cell) -> Path:
        """Make the folder of a cell and return it.

        Raises:
            MissingError: it cannot be written.
        """
        folder = self.folder(cell)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as failure:
            raise MissingError(
                f"{folder}: cannot be made ({failure.strerror})", hint="give --runs-dir a folder you can write to"
            ) from failure
        write_text(folder / "cell.json", json.dumps({**cell.as_json(), "line": cell.line}, indent=2) + "\n")
        return folder

    def finish(self, cell: Cell, document: Mapping[str, Any], seconds: float) -> None:
        """Keep what a cell came to."""
        content = {"cell": cell.as_json(), "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "seconds": seconds}
        text = json.dumps({**content, "document": document}, indent=1)
        write_text(self.folder(cell) / "result.json", text + "\n")

    def result(self, cell: Cell) -> Result | None:
        """Return what a cell came to, None if it is not finished.

        Raises:
            MismatchError: its file is damaged.
        """
        path = self.folder(cell) / "result.json"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            measured(cell.command, content["document"])
            return Result(content["document"], float(content["seconds"]))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, KeyError, TypeError) as failure:
            raise MismatchError(
                f"{path}: damaged; the JSON document of a finished cell was needed", hint=f"rm {path}"
            ) from failure

    def begun(self, cell: Cell) -> Run | None:
        """Return the run of a cell that was stopped on the way, None if there is nothing to continue."""
        if cell.command == "eval":
            return None
        home = self.folder(cell) / "runs"
        found = [run for run in runs.every(cell.command, root=home) if (run.path / "stamp.json").exists()]
        continuable = [run for run in found if run.last.exists() or run.finished or cell.command == "inject"]
        return continuable[-1] if continuable else None

    def trained(self, cell: Cell) -> Path:
        """Return the checkpoint of a finished training: of its last step, chosen on validation images.

        Raises:
            MissingError: it is gone.
        """
        result = self.result(cell)
        name = None if result is None else Path(result.document["runs"][-1]["run"]).name
        run = Run(self.folder(cell) / "runs" / "train" / str(name))
        for path in (run.best, run.last):
            if path.exists():
                return path
        raise MissingError(f"{run.path}: holds no checkpoint", hint=f"rm -r {self.folder(cell)}")

    def inputs(self, cell: Cell) -> list[str]:
        """Return the words of a cell as it is begun: they name the files it reads, also when it is continued."""
        return cell.words(None if cell.needs is None else self.trained(cell.needs))

    def words(self, cell: Cell) -> list[str]:
        """Return the command line of a cell that is to be computed: what was stopped is continued."""
        begun = self.begun(cell)
        if begun is not None:
            words = [cell.command, "--resume", str(begun.path), *_kept(cell.arguments)]
        else:
            words = self.inputs(cell)
        home = [] if cell.command == "eval" else ["--runs-dir", str(self.folder(cell) / "runs")]
        return [*words, *home, "--json"]


def _kept(arguments: Sequence[str]) -> list[str]:
    return [word for pair in pairwise(arguments) if pair[0] in KEPT for word in pair]
