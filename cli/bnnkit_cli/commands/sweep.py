"""`bnnkit sweep`: one command over a grid of options, or a published table."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnnkit.errors import UsageError
from bnnkit_cli.commands.sweep_cells import Options

if TYPE_CHECKING:
    from bnnkit.sweep import Published

CONTEXT_SETTINGS = {"ignore_unknown_options": True}
"""Options that are not the sweep's are those of its cells."""

DEFAULT_TOLERANCE = 1.0


def sweep(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[train|eval|inject] [NETWORK] [OPTIONS OF IT]...", help="What every cell runs; or give --preset."
        ),
    ] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=A,B,...",
            help="An option of the command and its values, or model=...; A;B where values have commas; yes and no for "
            "flags. Repeatable: all combinations.",
        ),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(help="Every cell once per seed: 1,2,3, or a number of them; means and spreads.")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="A published table: iga-table1, iga-table2, rram-vgg7, image-faults or weight-noise."),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="LABEL=A,B,...", help="Only these cells of a preset. Repeatable.")
    ] = None,
    expect: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Exit with 1 if an accuracy is not that of this results.json or CSV table."),
    ] = None,
    tol: Annotated[float, typer.Option(help="Points that --expect allows.")] = DEFAULT_TOLERANCE,
    executor: Annotated[str, typer.Option(help="local (processes) or ray (a Ray cluster).")] = "local",
    jobs: Annotated[
        int | None, typer.Option(help="Cells at a time [default: one, or one per GPU; ray: as many as fit].")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda, for trainings and processes.")] = "cpu",
    runs_dir: Annotated[Path, typer.Option(help="Where run directories and finished cells live.")] = Path("runs"),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the cells, their commands and an estimate; run nothing.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")] = False,
) -> None:
    """Run train, eval or inject for all combinations of options, and put the accuracies into one table.

    Finished cells are kept in runs/sweep/cells by what they compute: the same cell is never computed twice, and after
    Ctrl-C or a crash the same command goes on where it stopped. Failed cells are listed with the command that repeats
    them. Options that are not those of sweep are given to every cell; --limit gives a quick look.

    bnnkit sweep train mlp --grid adc-bit=1,2,3,4 --seeds 3 --epochs 10
    """
    from bnnkit_cli.commands.sweep_work import Sweep, show_cells

    options = Options(context, words or [], grid or [], seeds, preset, only or [], device, runs_dir)
    asked = options.resolve()
    if jobs is not None and jobs < 1:
        raise UsageError(f"--jobs {jobs}: at least 1 was needed", hint="leave --jobs out")
    if dry_run:
        show_cells(asked, runs_dir, json=json)
        return
    expected = _expected(expect, tol)
    work = Sweep(asked, runs_dir, executor, jobs, device, ["bnnkit", *sys.argv[1:]])
    work.run()
    work.report(expected, tol, json=json)


def _expected(path: Path | None, tolerance: float) -> Sequence[Published] | None:
    from bnnkit.sweep import read_expected

    if tolerance < 0:
        raise UsageError(f"--tol {tolerance:g}: 0 or more points were needed", hint="--tol 1")
    return None if path is None else read_expected(path)
