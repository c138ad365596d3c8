"""The order of cells: what can run runs, what is finished is kept, what fails stops only what needs it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum

from bnnkit.sweep.cell import Cell, in_order
from bnnkit.sweep.executor import BUSY, INTERRUPTED, Executor, Finished, Job
from bnnkit.sweep.store import Result, Store

SECONDS_BETWEEN_LOOKS = 0.2


class State(Enum):
    """How far a cell is."""

    waiting = "waiting"
    running = "running"
    finished = "finished"
    failed = "failed"
    left_out = "left out"
    stopped = "stopped"


@dataclass
class Entry:
    """A cell and how far it is.

    Attributes:
        result: of a finished cell.
        found: it was finished before this sweep.
        said: its last words, if it failed.
        begun: when it began to run, by `time.monotonic`.
    """

    cell: Cell
    state: State = State.waiting
    result: Result | None = None
    found: bool = False
    said: str = ""
    begun: float = 0.0


class Schedule:
    """Cells and those they need, run by an executor until each is finished, failed or left out.

    Args:
        cells: in the order in which they should run.
        changed: called whenever something has ended or begun, and now and then while cells run.

    Example: see tests/sweep/test_schedule.py.
    """

    def __init__(
        self, cells: Sequence[Cell], store: Store, executor: Executor, changed: Callable[[Schedule], None]
    ) -> None:
        self.entries = {cell.key: Entry(cell) for cell in in_order(list(cells))}
        self.store, self.executor, self.changed = store, executor, changed
        self.stopping = False
        for entry in self.entries.values():
            entry.result = store.result(entry.cell)
            if entry.result is not None:
                entry.state, entry.found = State.finished, True

    def run(self, stop: object = False) -> None:
        """Run everything; `stop` becomes true when running cells are to be saved and no others begun."""
        with self._executor_closed():
            while True:
                if stop and not self.stopping:
                    self.stopping = True
                    self.executor.stop()
                if not self.stopping:
                    self._start()
                running = [entry for entry in self.entries.values() if entry.state is State.running]
                if not running:
                    break
                for ended in self.executor.finished():
                    self._end(ended)
                self.changed(self)
                time.sleep(SECONDS_BETWEEN_LOOKS)
        for entry in self.entries.values():
            if entry.state is State.waiting:
                entry.state = State.stopped if self.stopping else State.left_out
        self.changed(self)

    def of(self, *states: State) -> list[Entry]:
        """Return the cells in these states."""
        return [entry for entry in self.entries.values() if entry.state in states]

    def seconds_left(self) -> float | None:
        """Return how long the rest may take by what finished cells of the same command took; None if nothing tells."""
        left = 0.0
        for entry in self.of(State.waiting, State.running):
            took = self._seconds_of(entry.cell.command)
            if took is None:
                return None
            spent = time.monotonic() - entry.begun if entry.state is State.running else 0.0
            left += max(0.0, took - spent)
        places = len(self.of(State.running)) + self.executor.free
        return left / max(1, places)

    def _seconds_of(self, command: str) -> float | None:
        known = [
            entry.result.seconds for entry in self.entries.values() if entry.result and entry.cell.command == command
        ]
        return sum(known) / len(known) if known else None

    def _start(self) -> None:
        for entry in self.of(State.waiting):
            needs = entry.cell.needs
            if needs is not None:
                before = self.entries[needs.key].state
                if before in (State.failed, State.left_out):
                    entry.state = State.left_out
                if before is not State.finished:
                    continue
            if not self.executor.free:
                return
            folder = self.store.begin(entry.cell)
            entry.state, entry.begun = State.running, time.monotonic()
            self.executor.start(Job(entry.cell.key, self.store.words(entry.cell), folder))
            self.changed(self)

    def _end(self, ended: Finished) -> None:
        entry = self.entries[ended.key]
        entry.said = ended.said
        if ended.document is not None:
            self.store.finish(entry.cell, ended.document, ended.seconds)
            entry.state, entry.result = State.finished, Result(ended.document, ended.seconds)
        elif ended.code == INTERRUPTED or (self.stopping and ended.code not in (BUSY, 0)):
            entry.state = State.stopped
            self.stopping = self.stopping or ended.code == INTERRUPTED
        else:
            entry.state = State.failed

    @contextmanager
    def _executor_closed(self) -> Iterator[None]:
        try:
            yield
        finally:
            self.executor.close()
