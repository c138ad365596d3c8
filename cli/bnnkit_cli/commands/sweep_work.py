"""The work of `bnnkit sweep`: run the cells, keep the tables up to date, and say what came of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnnkit.errors import GateError, InterruptedRunError, UsageError
from bnnkit_cli import output

if TYPE_CHECKING:
    from bnnkit.sweep import Cell, Entry, Published, Report, Schedule
    from bnnkit.sweep.executor import Executor
    from bnnkit_cli.commands.sweep_cells import Asked

EXECUTORS = ("local", "ray")


class Sweep:
    """One sweep with its run directory."""

    def __init__(
        self, asked: Asked, root: Path, executor: str, jobs: int | None, device: str, argv: Sequence[str]
    ) -> None:
        from bnnkit import runs
        from bnnkit.sweep import Schedule, Store
        from bnnkit.sweep.record import to_toml

        self._asked = asked
        options = {**asked.options, "executor": executor, "jobs": jobs}
        made = _executor(executor, jobs, device)
        self._schedule = Schedule(asked.cells, Store(root / "sweep" / "cells"), made, self._changed)
        self._run = runs.create("sweep", asked.name, to_toml(options), root=root)
        self._run.write_json("stamp.json", runs.stamp(argv))
        self._written: set[str] = set()
        self._began = time.monotonic()

    def run(self) -> None:
        """Run all cells."""
        from bnnkit.sweep import State
        from bnnkit.train.interrupt import stop_on_signals
        from bnnkit_cli.commands.sweep_display import Display

        found = len(self._schedule.of(State.finished))
        total = len(self._schedule.entries)
        before = f", {found} of them finished before" if found else ""
        output.log(f"run {self._run.path}: {total} {'cell' if total == 1 else 'cells'}{before}")
        with stop_on_signals() as stop, output.board() as board:
            self._display = Display(board)
            self._schedule.run(stop)
        self._write()

    def report(self, expected: Sequence[Published] | None, tolerance: float, *, json: bool) -> None:
        """Print the table, and raise where cells failed, were stopped, or came out differently than expected.

        Raises:
            InterruptedRunError: stopped; what is finished is kept.
            GateError: failed cells, or an accuracy further than `tolerance` from the expected one.
        """
        from bnnkit.sweep import compare
        from bnnkit.sweep.record import draw

        report = self._report()
        pictures = draw(self._run, report)
        differences = [] if expected is None else compare(report.rows, expected)
        if json:
            beside = [
                {"labels": dict(d.labels), "expected": d.expected, "found": d.found, "within": d.within(tolerance)}
                for d in differences
            ]
            places = {"run": self._run.path, "pictures": pictures, "stamp": self._run.read_json("stamp.json")}
            output.emit_json("sweep", {**report.as_json(), **places, "expected": beside})
        else:
            show(report, [*(f"picture: {path}" for path in pictures), f"run: {self._run.path}"])
        self._check(report.entries, [d for d in differences if not d.within(tolerance)], tolerance)

    def _changed(self, schedule: Schedule) -> None:
        self._display.changed(schedule)
        from bnnkit.sweep import State

        done = {entry.cell.key for entry in schedule.of(State.finished, State.failed)}
        if done - self._written:
            self._written |= done
            self._write()

    def _write(self) -> None:
        from bnnkit.runs import peak_memory
        from bnnkit.sweep.record import write

        write(self._run, self._report())
        spent = {"wall_seconds": time.monotonic() - self._began, "peak_memory_bytes": peak_memory()}
        self._run.write_json("stamp.json", {**self._run.read_json("stamp.json"), **spent})

    def _report(self) -> Report:
        from bnnkit.sweep import Report, rows_of

        entries = list(self._schedule.entries.values())
        # Cells that compute the same share an entry, and have labels of their own.
        shown = [replace(self._schedule.entries[cell.key], cell=cell) for cell in self._asked.cells]
        rows = rows_of(shown, self._asked.published)
        limited = ["limited: not all images or steps were used"] * any(row.limited for row in rows)
        return Report(self._asked.title, rows, entries, [*limited, *self._asked.notes], self._asked.across)

    def _check(self, entries: Sequence[Entry], off: Sequence[Any], tolerance: float) -> None:
        from bnnkit.sweep import State

        failed = [entry for entry in entries if entry.state is State.failed]
        stopped = [entry for entry in entries if entry.state is State.stopped]
        if stopped:
            done = sum(entry.state is State.finished for entry in entries)
            raise InterruptedRunError(
                f"sweep: stopped with {done} of {len(entries)} cells finished; they are kept, and trainings are saved",
                hint="the same command goes on",
            )
        if failed:
            out = sum(entry.state is State.left_out for entry in entries)
            more = f", and {out} that need them were left out" if out else ""
            raise GateError(
                f"sweep: {len(failed)} of {len(entries)} cells failed{more}", hint="the same command tries them again"
            )
        if off:
            worst = max(off, key=lambda d: float("inf") if d.found is None else abs(d.found - d.expected))
            what = ", ".join(f"{name} {value}" for name, value in worst.labels.items())
            found = "nothing" if worst.found is None else f"{worst.found:.2f} %"
            raise GateError(
                f"--expect: {len(off)} accuracies are more than {tolerance:g} points off; worst {what}: {found}, "
                f"expected {worst.expected:.2f} %",
                hint="--tol POINTS",
            )


def show(report: Report, places: Sequence[str]) -> None:
    """Print the table of a sweep, its notes, and the commands of cells that failed."""
    from bnnkit.sweep import State
    from bnnkit.sweep.table import cells_of, columns_of

    heads, lines = cells_of(report.rows, columns_of(report.rows))
    output.result_table(heads, lines, title=report.title, notes=[*report.notes, *places])
    failed = [entry for entry in report.entries if entry.state is State.failed]
    for entry in failed:
        output.result_text("")
        output.result_text(f"failed: {entry.cell.line}")
        for line in entry.said.splitlines()[-4:]:
            output.result_text(f"    {line}")


def show_cells(asked: Asked, root: Path, *, json: bool) -> None:
    """Print the cells of a sweep, which of them are finished, and how long the others will take; nothing is run."""
    from bnnkit.sweep import Store
    from bnnkit.sweep.cell import in_order
    from bnnkit.train.loop import duration

    store = Store(root / "sweep" / "cells")
    cells = in_order(list(asked.cells))
    states = {cell.key: _state(store, cell) for cell in cells}
    todo = [cell for cell in cells if states[cell.key] != "finished"]
    seconds = _estimates(todo)
    trainings = [cell for cell in todo if cell.command == "train"]
    total = sum(seconds[cell.key] for cell in trainings)
    if json:
        listed = [
            {**cell.as_json(), "line": cell.line, "state": states[cell.key], "seconds": seconds.get(cell.key)}
            for cell in cells
        ]
        payload = {"dry_run": True, "title": asked.title, "cells": listed, "seconds_of_trainings": total}
        output.emit_json("sweep", payload)
        return
    rows = [
        (cell.key, states[cell.key], duration(seconds[cell.key]) if cell.key in seconds else None, cell.line)
        for cell in cells
    ]
    notes = [f"{len(cells)} cells, {len(cells) - len(todo)} of them finished before"]
    notes += [f"trainings together about {duration(total)}, one after the other"] if trainings else []
    output.result_table(
        ["cell", "state", "time", "command"], rows, title=asked.title, notes=[*notes, "nothing was run"]
    )


def _estimates(cells: Sequence[Cell]) -> dict[str, float]:
    """Return the seconds of trainings; those that differ only in the seed take the same."""
    from bnnkit.sweep import SEED
    from bnnkit.sweep.estimate import seconds_of_training

    trainings = [cell for cell in cells if cell.command == "train"]
    known: dict[tuple[tuple[str, str], ...], float] = {}
    found: dict[str, float] = {}
    with output.progress("a few steps of each training", len(trainings)) as bar:
        for number, cell in enumerate(trainings, start=1):
            kind = tuple((name, value) for name, value in cell.labels.items() if name != SEED)
            if kind not in known:
                known[kind] = seconds_of_training(cell)
            found[cell.key] = known[kind]
            bar.update(number)
    return found


def _state(store: Any, cell: Cell) -> str:
    if store.result(cell) is not None:
        return "finished"
    return "begun" if store.begun(cell) is not None else "new"


def _executor(name: str, jobs: int | None, device: str) -> Executor:
    from bnnkit.sweep import LocalExecutor, local_slots

    if name == "local":
        return LocalExecutor(local_slots(jobs, device))
    if name == "ray":
        from bnnkit.sweep.cluster import RayExecutor

        return RayExecutor(jobs, device)
    raise UsageError(f"--executor {name}: {' or '.join(EXECUTORS)} was needed", hint="--executor local")
