"""A sweep while it runs: what is running, what has come out, how long the rest will take."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bnnkit_cli import output

if TYPE_CHECKING:
    from bnnkit.sweep import Entry, Schedule, State

MOST_ROWS = 12
"""Of cells that have ended; those that run are all shown."""
MOST_LETTERS = 48
"""Of what a running cell says: an epoch's number, loss and accuracies."""


class Display:
    """Says in a line of the log what every cell came to, and shows the latest on a board where there is one."""

    def __init__(self, board: output.Board | None) -> None:
        self._board = board
        self._known: dict[str, State] = {}
        self._busy: set[str] = set()

    def changed(self, schedule: Schedule) -> None:
        """Show what is different since the last call."""
        for key, entry in schedule.entries.items():
            if not entry.found and self._known.get(key) is not entry.state:
                self._known[key] = entry.state
                self._say(schedule, entry)
        if self._board is not None:
            self._show(self._board, schedule)

    def _say(self, schedule: Schedule, entry: Entry) -> None:
        from bnnkit.sweep import State
        from bnnkit.train.loop import duration

        done, total = len(schedule.of(State.finished)), len(schedule.entries)
        if entry.state is State.finished and entry.result is not None:
            left = schedule.seconds_left()
            more = "" if not left else f"; about {duration(left)} left"
            took = duration(entry.result.seconds)
            # A board shows it anyway.
            verbosity = 0 if self._board is None else 1
            output.log(f"{done}/{total}  {name_of(entry)}: {found_text(entry)} in {took}{more}", verbosity=verbosity)
        elif entry.state is State.failed:
            output.warn(f"failed: {name_of(entry)}: {why_failed(entry)}")
        elif entry.state is State.running:
            output.log(f"running {entry.cell.line}", verbosity=1)
        elif entry.later is not None and entry.cell.key not in self._busy:
            self._busy.add(entry.cell.key)
            output.log(f"waiting for {name_of(entry)}: {entry.said}")

    def _show(self, board: output.Board, schedule: Schedule) -> None:
        from bnnkit.sweep import State
        from bnnkit.train.loop import duration

        running = schedule.of(State.running)
        rows = []
        for entry in schedule.of(State.finished, State.failed)[-MOST_ROWS:]:
            found = why_failed(entry) if entry.state is State.failed else found_text(entry)
            rows.append((name_of(entry), entry.state.value, found[:MOST_LETTERS]))
        for entry in running:
            spent = duration(time.monotonic() - entry.begun)
            said = " ".join(schedule.executor.saying(entry.cell.key).split())
            # The first thing a command says is where its run directory is.
            shown = "starting" if said[:4] in ("", "run ") else said[:MOST_LETTERS]
            rows.append((name_of(entry), f"running {spent}", shown))
        left, total = schedule.seconds_left(), len(schedule.entries)
        time_left = "" if left is None else f", about {duration(left)} left"
        note = f"{len(schedule.of(State.finished))}/{total} cells finished{time_left}"
        board.show(["cell", "state", "result"], rows, [note])


def name_of(entry: Entry) -> str:
    """Return what a person recognises a cell by."""
    from bnnkit.sweep import NETWORK

    labels = dict(entry.cell.labels)
    network = [labels.pop(NETWORK)] if NETWORK in labels else []
    options = [f"{name} {value}" for name, value in labels.items()]
    return f"{entry.cell.command} {', '.join(network + options)}".strip()


def why_failed(entry: Entry) -> str:
    """Return the error among the last words of a failed cell, without those the last of them."""
    lines = entry.said.splitlines() or ["it said nothing"]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (errors or lines)[-1]


def found_text(entry: Entry) -> str:
    """Return the accuracies of a finished cell, the first few of many."""
    from bnnkit.sweep.measured import measured

    if entry.result is None:
        return ""
    found = measured(entry.cell.command, entry.result.document)
    known = entry.cell.labels.items()
    texts = []
    for each in found:
        new = [value for name, value in each.labels.items() if (name, value) not in known]
        texts.append(" ".join([*new, f"{each.accuracy:.2f} %"]))
    return ", ".join(texts[:3]) + (f", {len(texts) - 3} more" if len(texts) > 3 else "")
