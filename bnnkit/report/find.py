"""The runs that a person means, whatever command made them."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from bnnkit import runs
from bnnkit.errors import MismatchError, MissingError, UsageError
from bnnkit.runs import LATEST, Run

KINDS = ("train", "inject", "sweep")
"""Commands whose runs have a report."""


def find(references: Sequence[str | Path], *, root: Path = runs.ROOT) -> list[Run]:
    """Return the runs that are meant, each once, in this order.

    Args:
        references: paths of run directories, names or beginnings of names of runs of any command, or "latest", which
            is the newest run of all.

    Raises:
        MissingError: there is no such run; the hint names the nearest.
        UsageError: several runs begin with it.
        MismatchError: a run directory of a command that has no report.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = runs.create("inject", "mlp-weight-flip", "", root=Path(folder))
    ...     [kind(found) for found in find(["latest", "mlp", run.path], root=Path(folder))]
    ['inject']
    """
    found = [_find(reference, root) for reference in references]
    for run in found:
        kind(run)
    return list({run.path: run for run in found}.values())


def kind(run: Run) -> str:
    """Return the command that made a run: the folder it lies in, or what its stamp says.

    Raises:
        MismatchError: a command that has no report; stamp.json is damaged.
    """
    if run.path.parent.name in KINDS:
        return run.path.parent.name
    argv = run.read_json("stamp.json").get("argv") if (run.path / "stamp.json").is_file() else None
    if isinstance(argv, list):
        named = next((word for word in map(str, argv[1:]) if not word.startswith("-")), "")
        command = "inject" if named == "inject-faults" else named
        if command in KINDS:
            return command
    raise MismatchError(
        f"{run.path}: not known which command made it; a run of {', '.join(KINDS)} was needed",
        hint="give a folder below runs/train, runs/inject or runs/sweep",
    )


def _find(reference: str | Path, root: Path) -> Run:
    given = Path(reference)
    if (given / "config.toml").is_file():
        # A link may move on while the run is read, and "." has no name.
        return Run(given.resolve())
    every = [run for command in KINDS for run in runs.every(command, root=root)]
    if str(reference) == LATEST:
        if not every:
            raise MissingError(f"{root}: holds no run yet", hint="bnnkit train --help")
        return _real(max(every, key=runs.begun))
    found = [run for run in every if run.name.startswith(str(reference))]
    if len(found) == 1:
        return _real(found[0])
    if found:
        names = ", ".join(run.name for run in found[:4]) + (", ..." if len(found) > 4 else "")
        raise UsageError(
            f"run '{reference}': {len(found)} runs begin with it: {names}", hint="give more of the name, or paths"
        )
    near = difflib.get_close_matches(str(reference), [LATEST, *(run.name for run in every)], n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"ls {root}/*"
    raise MissingError(f"run '{reference}': neither a run directory nor a run in {root}", hint=hint)


def _real(run: Run) -> Run:
    return Run(run.path.resolve())
