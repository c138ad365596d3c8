"""A sweep while it runs: what is running, what has come out, how long the rest will take."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bnnkit_cli import output

if TYPE_CHECKING:
    from bnnkit.sweep import Entry, Schedule, State

MOST_ROWS = 20


class Display:
    """Says in a line of the log what every cell came to, and shows the latest on a board where there is one."""

    def __init__(self, board: output.Board | None) -> None:
        self._board = board
        self._known: dict[str, State] = {}

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
            output.log(f"{done}/{total}  {name_of(entry)}: {found_text(entry)} in {took}{more}")
        elif entry.state is State.failed:
            output.warn(f"failed: {name_of(entry)}: {entry.said.splitlines()[-1] if entry.said else 'no word'}")
        elif entry.state is State.running:
            output.log(f"running {entry.cell.line}", verbosity=1)

    def _show(self, board: output.Board, schedule: Schedule) -> None:
        from bnnkit.sweep import State
        from bnnkit.train.loop import duration

        running = schedule.of(State.running)
        done = schedule.of(State.finished, State.failed)
        rows = [(name_of(entry), entry.state.value, found_text(entry)) for entry in done[-(MOST_ROWS - len(running)) :]]
        for entry in running:
            spent = duration(time.monotonic() - entry.begun)
            said = schedule.executor.saying(entry.cell.key).strip()
            rows.append((name_of(entry), f"running {spent}", said[:90]))
        left, total = schedule.seconds_left(), len(schedule.entries)
        time_left = "" if left is None else f", about {duration(left)} left"
        note = f"{len(schedule.of(State.finished))}/{total} cells finished{time_left}"
        board.show(["cell", "state", "test %"], rows, [note])


def name_of(entry: Entry) -> str:
    """Return what a person recognises a cell by."""
    labels = [f"{name} {value}" for name, value in entry.cell.labels.items()]
    return f"{entry.cell.command} {', '.join(labels)}".strip()


def found_text(entry: Entry) -> str:
    """Return the accuracies of a finished cell, the first few of many."""
    from bnnkit.sweep.measured import measured

    if entry.result is None:
        return ""
    found = measured(entry.cell.command, entry.result.document)
    texts: Sequence[str] = [" ".join([*each.labels.values(), f"{each.accuracy:.2f} %"]) for each in found]
    return ", ".join(texts[:3]) + (f", {len(texts) - 3} more" if len(texts) > 3 else "")
