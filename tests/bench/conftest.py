"""A clock that only moves when a contender runs, so that figures are known exactly."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bnnkit import ops
from bnnkit.bench import machine, timing
from bnnkit.errors import MissingError


class FakeClock:
    def __init__(self) -> None:
        self.now = 0.0
        self.on_core = 1.0

    def read(self) -> float:
        return self.now

    def taking(self, seconds: float) -> Callable[[], None]:
        """Return a contender that takes this long."""

        def call() -> None:
            self.now += seconds

        return call


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    fake = FakeClock()
    monkeypatch.setattr(timing.time, "perf_counter", fake.read)
    monkeypatch.setattr(timing.time, "process_time", lambda: fake.now * fake.on_core)
    return fake


@pytest.fixture
def fake_machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A machine with all variants, whose limits are 100 and 400 bMAC/s per thread; returns what its kernels run."""
    forced: list[str | None] = [None]
    has = {"xnor": "amx", "pack": "avx512", "bitplane": "avx2"}
    order = ["reference", "avx2", "avx512", "amx"]

    def enter(threads: int, variant: str | None) -> None:
        forced[0] = variant

    def last_variant(kernel: str) -> str:
        return min(has[kernel], forced[0] or "amx", key=order.index)

    monkeypatch.setattr(machine, "enter", enter)
    monkeypatch.setattr(ops, "last_variant", last_variant)
    monkeypatch.setattr(ops, "usable_variants", lambda: order)
    limits = {"avx2": 50.0, "avx512": 100.0, "amx": 400.0}
    monkeypatch.setattr(machine.LimitLoop, "sample", lambda self: limits[self.variant] * self.threads)
    return has


@pytest.fixture
def extension() -> None:
    try:
        ops.load()
    except MissingError as missing:
        pytest.skip(missing.message)
