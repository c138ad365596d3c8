"""Carry out a plan, one case after the other."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from bnnkit.allocation import kept_memory
from bnnkit.bench import machine
from bnnkit.bench.contest import Outcome, measure
from bnnkit.bench.plan import BENCHES, Plan
from bnnkit.bench.report import Limit, Report, Row
from bnnkit.bench.timing import Budget, quantile
from bnnkit.errors import UsageError

IDLE = 0.95
"""Share of the time on a core above which a machine counts as idle."""

KEPT = "freed memory stays with the process, for all contenders: page faults of fresh memory are not timed"

Each = Callable[[str, int, int], None]


def run(plan: Plan, each: Each = lambda case, done, total: None) -> Report:
    """Verify and measure everything in `plan`.

    Args:
        plan: from `resolve`.
        each: told (case, rounds done, rounds in all) after every round.

    Raises:
        UsageError: a variant was asked for by name that the kernel does not have.
    """
    bench = BENCHES.get(plan.kernel)
    budget = Budget(plan.seconds / (len(plan.shapes) * bench.count), plan.repeat)
    rows: list[Row] = []
    limits: list[Limit] = []
    left_out: dict[str, None] = {}
    with machine.restored(), kept_memory() as kept:
        for case in bench.cases(plan):
            outcome = measure(case, budget, partial(each, case.name), plan.clock)
            rows += outcome.rows
            limits += outcome.limits
            left_out |= dict.fromkeys(_absent(plan, outcome))
    return Report(plan.kernel, rows, limits, [*bench.notes, *([KEPT] if kept else []), *left_out, *_busy(plan, rows)])


def _busy(plan: Plan, rows: list[Row]) -> list[str]:
    shares = [row.on_core for row in rows if row.on_core is not None]
    if not shares or quantile(shares, 0.5) >= IDLE:
        return []
    advice = "times are those on a core" if plan.clock == "cpu" else "measure again, or with --clock cpu --threads 1"
    return [f"the machine was busy: single threads had a core for {quantile(shares, 0.5):.0%} of the time; {advice}"]


def _absent(plan: Plan, outcome: Outcome) -> list[str]:
    for side in outcome.absent:
        if plan.strict:
            raise UsageError(
                f"bench {plan.kernel}: {side.name} has no variant '{side.variant}'",
                hint="leave --variant out to measure those it has",
            )
    return [f"{side.name} has no variant {side.variant}; its next lower one is listed" for side in outcome.absent]
