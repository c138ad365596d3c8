"""Clocks: contenders take turns, so that a machine that changes its speed changes it for all of them."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import torch

Clock: TypeAlias = Literal["wall", "cpu"]
"""Time that passed, or time that this process had a core: on a busy machine, of one thread, the better guess."""

SHORTEST_SAMPLE = 0.005
"""Seconds a sample lasts at least; faster calls are repeated within it, so that the clock's grain does not show."""

WARM_UP_AGAIN_BELOW = 0.5
"""Seconds: a first call slower than this is warm-up enough."""


@dataclass(frozen=True)
class Samples:
    """What one contender gave in every round: seconds per call, or a rate."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return quantile(self.values, 0.5)

    @property
    def quartiles(self) -> tuple[float, float]:
        return quantile(self.values, 0.25), quantile(self.values, 0.75)

    def document(self) -> dict[str, object]:
        """Return the samples as JSON values."""
        low, high = self.quartiles
        return {"median": self.median, "quartiles": [low, high], "rounds": len(self.values), "values": [*self.values]}


class Sampler(Protocol):
    """Something measured once per round."""

    def warm(self) -> float:
        """Get ready and return the seconds that one sample will take."""
        ...

    def sample(self) -> float:
        """Measure once."""
        ...


class Stopwatch:
    """Measure seconds per call.

    Args:
        call: what is measured.
        enter: run before every sample, outside the clock.
        clock: which time to take.

    Attributes:
        on_core: per sample, time on a core / time that passed; below 1 with one thread: others had the core.
    """

    def __init__(
        self, call: Callable[[], object], enter: Callable[[], None] = lambda: None, clock: Clock = "wall"
    ) -> None:
        self._call = call
        self._enter = enter
        self._clock = clock
        self._loops = 1
        self.on_core: list[float] = []

    def warm(self) -> float:
        seconds = self.sample()
        if seconds < WARM_UP_AGAIN_BELOW:
            seconds = self.sample()
        self._loops = max(1, round(SHORTEST_SAMPLE / max(seconds, 1e-9)))
        return seconds * self._loops

    def sample(self) -> float:
        self._enter()
        start, start_on_core = time.perf_counter(), time.process_time()
        for _ in range(self._loops):
            self._call()
        passed, on_core = time.perf_counter() - start, time.process_time() - start_on_core
        self.on_core.append(on_core / max(passed, 1e-9))
        return (on_core if self._clock == "cpu" else passed) / self._loops


class CudaStopwatch(Stopwatch):
    """Measure seconds per call on the current GPU, by its own events."""

    def sample(self) -> float:
        self._enter()
        seconds = seconds_on_gpu(lambda: [self._call() for _ in range(self._loops)])
        self.on_core.append(1.0)
        return seconds / self._loops


def seconds_on_gpu(call: Callable[[], object]) -> float:
    """Return how long the current GPU takes for what `call` starts, by its own events."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    call()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / 1000


@dataclass(frozen=True)
class Budget:
    """How long a measurement may take.

    Args:
        seconds: for all rounds of a case together; `least` rounds are made however long they take.
        repeat: exactly this many rounds instead.
    """

    seconds: float
    repeat: int | None = None
    least: int = 3
    most: int = 30

    def rounds(self, round_seconds: float) -> int:
        """Return how many rounds of `round_seconds` to make.

        >>> Budget(10).rounds(1.0), Budget(10).rounds(60.0), Budget(10).rounds(0.001), Budget(10, repeat=7).rounds(60.0)
        (10, 3, 30, 7)
        """
        if self.repeat is not None:
            return self.repeat
        return min(max(int(self.seconds / max(round_seconds, 1e-9)), self.least), self.most)


def interleave(
    samplers: Sequence[Sampler], budget: Budget, each: Callable[[int, int], None] = lambda done, total: None
) -> list[Samples]:
    """Measure all samplers in turn, A B C A B C ..., after warming each of them.

    Args:
        samplers: the contenders.
        budget: how many rounds.
        each: told (rounds done, rounds in all) after every round.
    """
    rounds = budget.rounds(sum(sampler.warm() for sampler in samplers))
    values: list[list[float]] = [[] for _ in samplers]
    collecting = gc.isenabled()
    gc.disable()
    try:
        for done in range(rounds):
            for sampler, found in zip(samplers, values, strict=True):
                found.append(sampler.sample())
            each(done + 1, rounds)
    finally:
        if collecting:
            gc.enable()
    return [Samples(tuple(found)) for found in values]


def quantile(values: Sequence[float], q: float) -> float:
    """Return the q-quantile, interpolated between neighbours.

    >>> quantile([4, 1, 3, 2], 0.5), quantile([1, 2, 3], 0.25)
    (2.5, 1.5)
    """
    ordered = sorted(values)
    position = q * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])
