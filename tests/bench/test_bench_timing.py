"""Rounds, medians and the turns that contenders take."""

from __future__ import annotations

import pytest

from bnnkit.bench.timing import SHORTEST_SAMPLE, Budget, Samples, Stopwatch, interleave


class Recorder:
    def __init__(self, name: str, log: list[str], seconds: float) -> None:
        self.name, self.log, self.seconds = name, log, seconds

    def warm(self) -> float:
        self.log.append(f"warm {self.name}")
        return self.seconds

    def sample(self) -> float:
        self.log.append(self.name)
        return float(self.log.count(self.name))


def test_contenders_take_turns_after_all_are_warm() -> None:
    log: list[str] = []
    told: list[tuple[int, int]] = []
    sides = [Recorder(name, log, 1.0) for name in "abc"]
    samples = interleave(sides, Budget(9.0), lambda done, total: told.append((done, total)))
    assert log == ["warm a", "warm b", "warm c", *("abc" * 3)]
    assert [s.values for s in samples] == [(1, 2, 3)] * 3
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_a_number_of_rounds_overrides_the_budget() -> None:
    log: list[str] = []
    interleave([Recorder("a", log, 100.0)], Budget(1.0, repeat=5))
    assert log.count("a") == 5


def test_median_and_quartiles() -> None:
    samples = Samples((5.0, 1.0, 3.0, 2.0, 4.0))
    assert (samples.median, samples.quartiles) == (3, (2, 4))
    assert samples.document() == {"median": 3, "quartiles": [2, 4], "rounds": 5, "values": [5, 1, 3, 2, 4]}
    assert Samples((7.0,)).quartiles == (7, 7)


def test_short_calls_are_repeated_within_a_sample(clock) -> None:  # type: ignore[no-untyped-def]
    calls = []
    tick = clock.taking(SHORTEST_SAMPLE / 10)
    watch = Stopwatch(lambda: (calls.append(1), tick()))
    assert watch.warm() == pytest.approx(SHORTEST_SAMPLE)
    calls.clear()
    assert watch.sample() == pytest.approx(SHORTEST_SAMPLE / 10)
    assert len(calls) == 10


def test_on_a_busy_machine_the_time_on_a_core_can_be_taken(clock) -> None:  # type: ignore[no-untyped-def]
    clock.on_core = 0.25
    watches = [Stopwatch(clock.taking(2.0), clock=name) for name in ("wall", "cpu")]
    assert [watch.sample() for watch in watches] == [2.0, 0.5]
    assert watches[0].on_core == watches[1].on_core == [0.25]


def test_slow_calls_warm_up_once_and_entering_is_not_timed(clock) -> None:  # type: ignore[no-untyped-def]
    calls = []
    tick = clock.taking(2.0)
    watch = Stopwatch(lambda: (calls.append(1), tick()), enter=clock.taking(50.0))
    assert watch.warm() == 2
    assert len(calls) == 1
