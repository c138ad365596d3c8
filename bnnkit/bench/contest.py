"""One case: its contenders are verified, then take turns with each other and with the machine-limit loops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from bnnkit import ops
from bnnkit.bench import machine
from bnnkit.bench.report import Check, Limit, Row, Work
from bnnkit.bench.timing import Budget, Clock, CudaStopwatch, Sampler, Samples, Stopwatch, interleave, quantile

SINGLE = "1 thread"
CUDA = "cuda"

LimitLoops: TypeAlias = machine.LimitLoop | machine.MatrixLoop


@dataclass(frozen=True)
class Side:
    """One contender.

    Attributes:
        name: who; several sides may share it when threads or variant differ.
        call: what is timed.
        work: of one call.
        threads: how many it may use.
        variant: the variant its kernels are limited to; None: the highest, or no kernel of this package at all.
        kernels: the kernels of this package that it calls, the main one first.
        check: compares a fresh result with the reference, before anything is timed.
        against: names of sides to divide by: those with as many threads and, if they have a variant, with this one;
            times are per unit of work where both have the same.
        memory: measures its peak bytes, after everything was timed.
        stages: returns the share of the time per stage, after everything was timed.
        device: where it runs, "cpu" or "cuda".
    """

    name: str
    call: Callable[[], object]
    work: Work
    threads: int
    variant: str | None = None
    kernels: tuple[str, ...] = ()
    check: Callable[[], Check] | None = None
    against: tuple[str, ...] = ()
    memory: Callable[[], int] | None = None
    stages: Callable[[], dict[str, float]] | None = None
    device: str = "cpu"

    def enter(self) -> None:
        """Set threads and variant."""
        machine.enter(self.threads, self.variant)


@dataclass(frozen=True)
class Case:
    """Contenders that take turns."""

    name: str
    sides: Sequence[Side]


@dataclass(frozen=True)
class Outcome:
    """Rows of the sides that could run, the limits beside them, and the sides whose variant does not exist."""

    rows: Sequence[Row]
    limits: Sequence[Limit]
    absent: Sequence[Side]


def measure(
    case: Case,
    budget: Budget,
    each: Callable[[int, int], None] = lambda done, total: None,
    clock: Clock = "wall",
) -> Outcome:
    """Verify every side of `case`, then time those that passed, with the limits of the variants they ran.

    Args:
        case: the contenders.
        budget: of the timing; verification and warm-up come on top.
        each: told (rounds done, rounds in all).
        clock: which time to take.
    """
    checked = [(side, _verified(case, side)) for side in case.sides]
    absent = [side for side, row in checked if not _has_variant(side, row)]
    present = [(side, row) for side, row in checked if _has_variant(side, row)]
    timed = [(side, row) for side, row in present if row.valid]
    loops = _limit_loops([row for _, row in timed])
    watches = {side: _watch(side, clock) for side, _ in timed}
    samplers: list[Sampler] = [*loops, *watches.values()]
    samples = interleave(samplers, budget, each) if timed else []
    rates = samples[: len(loops)]
    limits = [Limit(case.name, x.variant, x.threads, rate) for x, rate in zip(loops, rates, strict=True)]
    seconds = dict(zip(watches, samples[len(loops) :], strict=True))
    rows = [_measured(row, watches[x], seconds[x], limits) if x in watches else row for x, row in present]
    sides = [side for side, _ in present]
    rows = [
        replace(row, stages=side.stages()) if side.stages and row.seconds else row
        for side, row in zip(sides, rows, strict=True)
    ]
    return Outcome(_compared(sides, _with_memory(sides, rows)), limits, absent)


def _watch(side: Side, clock: Clock) -> Stopwatch:
    return (CudaStopwatch if side.device == "cuda" else Stopwatch)(side.call, side.enter, clock)


def _verified(case: Case, side: Side) -> Row:
    side.enter()
    check = None
    if side.check is not None:
        check = side.check()
    elif side.kernels:
        side.call()
    ran = {kernel: ops.last_variant(kernel) for kernel in side.kernels}
    return Row(case.name, side.name, side.threads, side.work, ran, check)


def _has_variant(side: Side, row: Row) -> bool:
    return not side.kernels or side.variant in (None, row.variants[side.kernels[0]])


def _limit_loops(rows: Sequence[Row]) -> Sequence[LimitLoops]:
    if any(_limiting_variant(row) == CUDA for row in rows):
        return machine.matrix_loops()
    wanted: dict[tuple[str, int], None] = {}
    for row in rows:
        variant = _limiting_variant(row)
        if variant is None:
            continue
        wanted[variant, row.threads] = None
        if machine.POPCOUNT_LOOP in ops.usable_variants():
            wanted[machine.POPCOUNT_LOOP, row.threads] = None
    return [machine.LimitLoop(variant, threads) for variant, threads in wanted if variant != "reference"]


def _limiting_variant(row: Row) -> str | None:
    return next(iter(row.variants.values()), None) if row.work.binary_products else None


def _measured(row: Row, watch: Stopwatch, seconds: Samples, limits: Sequence[Limit]) -> Row:
    on_core = quantile(watch.on_core[-len(seconds.values) :], 0.5) if row.threads == 1 else None
    row = replace(row, seconds=seconds, on_core=on_core)
    variant = _limiting_variant(row)
    if variant is None:
        return row
    rate = row.work.binary_products / seconds.median
    shares = {x.variant: rate / x.rates.median for x in limits if x.threads == row.threads and x.rates.median}
    if variant == CUDA:  # the fastest instruction, whichever the kernel uses
        return replace(row, on_core=None, of_limit=min(shares.values(), default=None))
    return replace(row, of_limit=shares.get(variant), of_popcount=shares.get(machine.POPCOUNT_LOOP))


def _with_memory(sides: Sequence[Side], rows: Sequence[Row]) -> list[Row]:
    return [
        row if side.memory is None or row.seconds is None else replace(row, memory=side.memory())
        for side, row in zip(sides, rows, strict=True)
    ]


def _compared(sides: Sequence[Side], rows: Sequence[Row]) -> list[Row]:
    """Return the rows with their ratios to each other."""
    pairs = list(zip(sides, rows, strict=True))
    return [_with_ratios(side, row, pairs) for side, row in pairs]


def _times_the_work(work: Work, other: Work) -> float:
    """Return how much more work a call does, where both count the same; products of several bits are one task."""
    return work.amount / other.amount if work.unit == other.unit else 1.0


def _with_ratios(side: Side, row: Row, pairs: Sequence[tuple[Side, Row]]) -> Row:
    faster: dict[str, float] = {}
    less_memory: dict[str, float] = {}
    for other, its in pairs:
        if row.seconds is None or its.seconds is None:
            continue
        same_variant = other.variant is None or other.variant == side.variant
        if other.name in side.against and other.threads == side.threads and same_variant:
            faster[other.name] = its.seconds.median / row.seconds.median * _times_the_work(row.work, its.work)
            if row.memory and its.memory:
                less_memory[other.name] = its.memory / row.memory
        if (other.name, other.variant, other.threads) == (side.name, side.variant, 1) and side.threads > 1:
            faster[SINGLE] = its.seconds.median / row.seconds.median
    return replace(row, faster_than=faster, less_memory_than=less_memory)
