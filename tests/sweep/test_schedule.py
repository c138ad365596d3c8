"""Schedules: what runs when, what a failure leaves out, what a stop leaves for the next time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from bnnkit.sweep import TRAINED, Cell, Schedule, State, Store
from bnnkit.sweep import schedule as module
from bnnkit.sweep.executor import BUSY, INTERRUPTED, Finished, Job
from tests.sweep.documents import eval_document, train_cell, train_document

Ending = tuple[int, Mapping[str, Any] | None]
GOOD: Ending = (0, train_document(90.0))
CHECKPOINT = "mlp-1-1/best-val.safetensors"


class Fake:
    """Ends every job at the next look, as told, `slow` ones only when stopped; keeps what was asked of it."""

    def __init__(self, places: int, endings: Mapping[str, list[Ending]] | None = None, slow: str = "") -> None:
        self.places, self.endings = places, {key: list(value) for key, value in (endings or {}).items()}
        self.slow = slow
        self.running: list[Job] = []
        self.started: list[str] = []
        self.stopped = self.closed = False
        self.most = 0

    @property
    def free(self) -> int:
        return self.places - len(self.running)

    def start(self, job: Job) -> None:
        assert self.free > 0 and not self.stopped
        self.running.append(job)
        self.started.append(job.key)
        self.most = max(self.most, len(self.running))

    def finished(self) -> list[Finished]:
        ended = [job for job in self.running if self.stopped or job.key != self.slow]
        self.running = [job for job in self.running if job not in ended]
        return [self._end(job) for job in ended]

    def _end(self, job: Job) -> Finished:
        planned = self.endings.get(job.key, [])
        usual = GOOD if job.words[0] == "train" else (0, eval_document({1: 80.0}))
        code, document = planned.pop(0) if planned else usual
        if self.stopped:
            code, document = INTERRUPTED, None
        if document is not None and job.words[0] == "train":
            path = job.folder / "runs" / "train" / CHECKPOINT
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("weights")
        return Finished(job.key, code, document, "error: its words" if code else "", 10.0)

    def saying(self, key: str) -> str:
        return ""

    def stop(self) -> None:
        self.stopped = True

    def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LOOKS", 0.0)
    monkeypatch.setattr(module, "SECONDS_BETWEEN_TRIES", 0.0)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def schedule(
    store: Store, cells: list[Cell], fake: Fake, changed: Callable[[Schedule], None] = lambda schedule: None
) -> Schedule:
    return Schedule(cells, store, fake, changed)


def states(found: Schedule) -> dict[str, State]:
    return {entry.cell.line: entry.state for entry in found.entries.values()}


def evaluation(before: Cell, bit: int) -> Cell:
    return Cell("eval", (TRAINED, "--adc-bit", str(bit)), {"adc-bit": str(bit)}, before)


def test_a_training_comes_before_what_needs_it(store: Store) -> None:
    before = train_cell(adc_bit=1)
    cells = [evaluation(before, 1), evaluation(before, 2), train_cell(adc_bit=2)]
    fake = Fake(2)
    found = schedule(store, cells, fake)
    jobs: dict[str, Job] = {}
    start = fake.start
    fake.start = lambda job: (jobs.setdefault(job.key, job), start(job))[1]  # type: ignore[method-assign, func-returns-value]
    found.run()
    assert set(states(found).values()) == {State.finished}
    assert fake.started == [before.key, cells[2].key, cells[0].key, cells[1].key]
    assert fake.most == 2 and fake.closed
    trained = str(store.folder(before) / "runs" / "train" / CHECKPOINT)
    assert jobs[cells[0].key].words == ["eval", trained, "--adc-bit", "1", "--json"]


def test_a_failure_leaves_out_what_needs_it_and_nothing_else(store: Store) -> None:
    bad, good = train_cell(adc_bit=1), train_cell(adc_bit=2)
    cells = [evaluation(bad, 1), evaluation(good, 1)]
    further = Cell("inject", (TRAINED,), {}, cells[0])
    found = schedule(store, [*cells, further], Fake(1, {bad.key: [(4, None)]}))
    found.run()
    assert {entry.cell.key: entry.state for entry in found.entries.values()} == {
        bad.key: State.failed,
        cells[0].key: State.left_out,
        further.key: State.left_out,
        good.key: State.finished,
        cells[1].key: State.finished,
    }
    assert found.entries[bad.key].said == "error: its words"
    # The next time only those are run.
    fake = Fake(1)
    again = schedule(store, cells, fake)
    assert [entry.cell.key for entry in again.of(State.finished)] == [good.key, cells[1].key]
    again.run()
    assert fake.started == [bad.key, cells[0].key]
    assert [entry.found for entry in again.entries.values()] == [False, False, True, True]


def test_nothing_is_run_twice(store: Store) -> None:
    cells = [train_cell(adc_bit=bit) for bit in (1, 2)]
    schedule(store, cells, Fake(1)).run()
    fake = Fake(1)
    found = schedule(store, cells, fake)
    found.run()
    assert fake.started == [] and fake.closed
    assert [entry.result.document for entry in found.entries.values() if entry.result] == [GOOD[1]] * 2


def test_what_is_no_document_of_the_command_is_no_result(store: Store) -> None:
    cell = train_cell()
    found = schedule(store, [cell], Fake(1, {cell.key: [(0, {"runs": [{"no": "accuracy"}]})]}))
    found.run()
    assert found.entries[cell.key].state is State.failed
    assert found.entries[cell.key].said.startswith("its output is no document of `bnnkit train` (")
    assert store.result(cell) is None


def test_a_checkpoint_that_is_gone_fails_one_cell(store: Store) -> None:
    before, other = train_cell(adc_bit=1), train_cell(adc_bit=2)
    schedule(store, [before], Fake(1)).run()
    (store.folder(before) / "runs" / "train" / CHECKPOINT).unlink()
    cell = evaluation(before, 1)
    found = schedule(store, [cell, other], Fake(1))
    found.run()
    assert found.entries[cell.key].state is State.failed
    assert "holds no checkpoint" in found.entries[cell.key].said
    assert f"rm -r {store.folder(before)}" in found.entries[cell.key].said
    assert found.entries[other.key].state is State.finished


class Switch:
    def __init__(self) -> None:
        self.on = False

    def __bool__(self) -> bool:
        return self.on


def test_after_a_stop_nothing_begins(store: Store) -> None:
    cells = [train_cell(adc_bit=bit) for bit in (1, 2, 3)]
    cells.append(evaluation(cells[0], 1))
    switch = Switch()
    fake = Fake(1, slow=cells[1].key)

    def changed(found: Schedule) -> None:
        switch.on = cells[1].key in fake.started

    found = schedule(store, cells, fake, changed)
    found.run(switch)
    assert fake.started == [cells[0].key, cells[1].key] and fake.stopped and fake.closed
    assert list(states(found).values()) == [State.finished] + [State.stopped] * 3
    fake = Fake(1)
    again = schedule(store, cells, fake)
    again.run()
    assert fake.started == [cell.key for cell in cells[1:]]
    assert set(states(again).values()) == {State.finished}


def test_a_cell_stopped_by_somebody_else_stops_no_other(store: Store) -> None:
    cells = [train_cell(adc_bit=bit) for bit in (1, 2)]
    cells.append(evaluation(cells[0], 1))
    found = schedule(store, cells, Fake(1, {cells[0].key: [(INTERRUPTED, None)]}))
    found.run()
    assert [entry.state for entry in found.entries.values()] == [State.stopped, State.finished, State.left_out]
    assert not found.stopping


def test_a_cell_that_another_process_computes_is_waited_for(store: Store) -> None:
    taken, free = train_cell(adc_bit=1), train_cell(adc_bit=2)
    fake = Fake(2, {taken.key: [(BUSY, None)] * 3})
    seen: list[State] = []
    found = schedule(store, [taken, free], fake, lambda found: seen.append(found.entries[taken.key].state))
    found.run()
    assert set(states(found).values()) == {State.finished}
    assert fake.started.count(taken.key) == 4 and fake.started.count(free.key) == 1
    assert State.waiting in seen and State.failed not in seen


def test_the_result_of_another_process_is_taken(store: Store) -> None:
    cell = train_cell()
    fake = Fake(1, {cell.key: [(BUSY, None)] * 3})

    def changed(found: Schedule) -> None:
        if found.entries[cell.key].later is not None:
            store.finish(cell, train_document(77.0), 5.0)

    found = schedule(store, [cell], fake, changed)
    found.run()
    entry = found.entries[cell.key]
    assert entry.state is State.finished and fake.started == [cell.key]
    assert entry.result is not None and entry.result.document == train_document(77.0)


def test_a_stop_ends_the_waiting_for_others(store: Store) -> None:
    cell = train_cell()
    switch = Switch()

    def changed(found: Schedule) -> None:
        switch.on = found.entries[cell.key].later is not None

    found = schedule(store, [cell], Fake(1, {cell.key: [(BUSY, None)] * 1000}), changed)
    found.run(switch)
    assert found.entries[cell.key].state is State.stopped


def test_an_error_closes_the_executor(store: Store) -> None:
    def changed(found: Schedule) -> None:
        raise KeyboardInterrupt

    fake = Fake(1)
    with pytest.raises(KeyboardInterrupt):
        schedule(store, [train_cell()], fake, changed).run()
    assert fake.closed


def test_the_time_left(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    cells = [
        Cell("train", (name, str(place)), {"model": name}) for place, name in enumerate(("mlp", "mlp", "mlp", "vgg9"))
    ]
    found = schedule(store, [*cells, evaluation(cells[0], 1)], Fake(2))
    assert found.seconds_left() is None

    def finish(cell: Cell, seconds: float) -> None:
        store.begin(cell)
        found._end(Finished(cell.key, 0, train_document(90.0), "", seconds))

    finish(cells[0], 30.0)
    # Two mlps and a vgg9 as long as an mlp, two at a time; evaluations count for nothing.
    assert found.seconds_left() == pytest.approx(90 / 2)
    found.entries[cells[1].key].state, found.entries[cells[1].key].begun = State.running, 90.0
    assert found.seconds_left() == pytest.approx(80 / 3)
    finish(cells[1], 40.0)
    assert found.seconds_left() == pytest.approx(70 / 2)
    finish(cells[3], 1000.0)
    assert found.seconds_left() == pytest.approx(35 / 2)
    finish(cells[2], 35.0)
    found._end(Finished(evaluation(cells[0], 1).key, 1, None, "", 1.0))
    assert found.seconds_left() == 0.0
