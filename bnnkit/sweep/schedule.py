"""The order of cells: what can run runs, what is finished is kept, what fails stops only what needs it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any

from bnnkit.errors import BnnkitError
from bnnkit.sweep.cell import Cell, in_order
from bnnkit.sweep.executor import BUSY, INTERRUPTED, Executor, Finished, Job
from bnnkit.sweep.grid import NETWORK
from bnnkit.sweep.measured import measured
from bnnkit.sweep.store import Result, Store

SECONDS_BETWEEN_LOOKS = 0.2
SECONDS_BETWEEN_TRIES = 2.0
"""For a cell that another process is computing."""


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
        said: its last words, if it failed; why it waits, if another process is computing it.
        begun: when it began to run, by `time.monotonic`.
        later: when it is tried again, by `time.monotonic`; None unless another process is computing it.
    """

    cell: Cell
    state: State = State.waiting
    result: Result | None = None
    found: bool = False
    said: str = ""
    begun: float = 0.0
    later: float | None = None


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
                if not self.of(State.running) and (self.stopping or not self._elsewhere()):
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
        """Return how long the rest may take by what finished cells took; None if none has finished.

        Commands of which no cell has finished count as nothing: evaluations are short beside the trainings before them.
        """
        unfinished, left = self.of(State.waiting, State.running), 0.0
        if not any(entry.result for entry in self.entries.values()):
            return None
        for entry in unfinished:
            spent = time.monotonic() - entry.begun if entry.state is State.running else 0.0
            left += max(0.0, self._seconds_of(entry.cell) - spent)
        places = len(self.of(State.running)) + self.executor.free
        return left / max(1, min(places, len(unfinished)))

    def _seconds_of(self, cell: Cell) -> float:
        """Return what cells took that are like this one: the same command and network, else the same command."""
        known = [
            (entry.result.seconds, entry.cell.labels.get(NETWORK) == cell.labels.get(NETWORK))
            for entry in self.entries.values()
            if entry.result and entry.cell.command == cell.command
        ]
        same = [seconds for seconds, is_same in known if is_same] or [seconds for seconds, _ in known]
        return sum(same) / len(same) if same else 0.0

    def _elsewhere(self) -> list[Entry]:
        return [entry for entry in self.of(State.waiting) if entry.later is not None]

    def _start(self) -> None:
        for entry in self.of(State.waiting):
            needs = entry.cell.needs
            if needs is not None:
                before = self.entries[needs.key].state
                if before in (State.failed, State.left_out):
                    entry.state = State.left_out
                if before is not State.finished:
                    continue
            if entry.later is not None and not self._is_free_again(entry):
                continue
            if not self.executor.free:
                return
            self._begin(entry)
            self.changed(self)

    def _begin(self, entry: Entry) -> None:
        folder = self.store.begin(entry.cell)
        try:
            words, inputs = self.store.words(entry.cell), self.store.inputs(entry.cell)
        except BnnkitError as failure:
            entry.state, entry.said = State.failed, f"{failure.message}; {failure.hint}"
            return
        entry.state, entry.begun = State.running, time.monotonic()
        self.executor.start(Job(entry.cell.key, words, folder, inputs, entry.cell.data))

    def _is_free_again(self, entry: Entry) -> bool:
        """Return whether a cell that another process was computing is to be tried again; take its result, if any."""
        if entry.later is None or time.monotonic() < entry.later:
            return False
        entry.result = self.store.result(entry.cell)
        if entry.result is None:
            return True
        entry.state, entry.said, entry.later = State.finished, "", None
        return False

    def _end(self, ended: Finished) -> None:
        entry = self.entries[ended.key]
        entry.said, entry.later = ended.said, None
        if ended.code == BUSY:
            entry.state, entry.later = State.waiting, time.monotonic() + SECONDS_BETWEEN_TRIES
        elif ended.document is not None:
            self._keep(entry, ended.document, ended.seconds)
        elif ended.code == INTERRUPTED or self.stopping:
            entry.state = State.stopped
        else:
            entry.state = State.failed

    def _keep(self, entry: Entry, document: Mapping[str, Any], seconds: float) -> None:
        try:
            measured(entry.cell.command, document)
        except (KeyError, TypeError, ValueError) as failure:
            entry.state = State.failed
            entry.said = f"its output is no document of `bnnkit {entry.cell.command}` ({failure!r})"
            return
        self.store.finish(entry.cell, document, seconds)
        entry.state, entry.result = State.finished, Result(document, seconds)

    @contextmanager
    def _executor_closed(self) -> Iterator[None]:
        try:
            yield
        finally:
            self.executor.close()
