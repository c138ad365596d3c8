"""What a case's rows say, on a machine whose clock and limits are known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bnnkit.bench import Check, Row, Work
from bnnkit.bench.contest import SINGLE, Case, Outcome, Side, measure
from bnnkit.bench.report import Report
from bnnkit.bench.tables import INVALID, case_tables
from bnnkit.bench.timing import Budget

pytestmark = pytest.mark.usefixtures("fake_machine")
BUDGET = Budget(0, repeat=3)


@pytest.fixture
def outcome(clock) -> Outcome:  # type: ignore[no-untyped-def]
    work, kernel = Work(1000, "bMAC"), ("xnor",)
    torch = Side("torch fp32", clock.taking(40.0), Work(1000, "MAC"), 1)
    ours = Side("bnnkit xnor", clock.taking(4.0), work, 1, "amx", kernel, lambda: Check(True, "all"), ("torch fp32",))
    slower = replace(ours, variant="avx2", call=clock.taking(80.0))
    wrong = replace(ours, variant="avx512", check=lambda: Check(False, "all", "1 of 2 values differ"))
    two = [replace(side, threads=2, call=clock.taking(s)) for side, s in ((torch, 30.0), (ours, 2.5))]
    pack = Side("bnnkit pack", clock.taking(1.0), Work(10, "value"), 1, None, ("pack",))
    absent = replace(pack, variant="amx")
    return measure(Case("case", [torch, ours, slower, wrong, *two, pack, absent]), BUDGET)


def row(outcome: Outcome, side: str, threads: int = 1, variant: str | None = None) -> Row:
    return next(
        r for r in outcome.rows if (r.side, r.threads) == (side, threads) and variant in (None, *r.variants.values())
    )


def test_rates_are_shares_of_the_limit_of_the_variant_that_ran(outcome: Outcome) -> None:
    ours = row(outcome, "bnnkit xnor")
    assert ours.variants == {"xnor": "amx"}
    assert (ours.rate, ours.tops) == (250, 2 * 250 / 1e12)
    assert (ours.of_limit, ours.of_popcount) == (250 / 400, 250 / 100)
    both = row(outcome, "bnnkit xnor", threads=2)
    assert (both.of_limit, both.of_popcount) == (400 / 800, 400 / 200)
    assert {(x.variant, x.threads) for x in outcome.limits} == {
        ("amx", 1), ("avx512", 1), ("avx2", 1), ("amx", 2), ("avx512", 2),
    }  # fmt: skip


def test_ratios_are_of_medians_at_equal_threads(outcome: Outcome) -> None:
    assert row(outcome, "bnnkit xnor").faster_than == {"torch fp32": 10}
    assert row(outcome, "bnnkit xnor", variant="avx2").faster_than == {"torch fp32": 0.5}
    assert row(outcome, "bnnkit xnor", threads=2).faster_than == {"torch fp32": 12, SINGLE: 4 / 2.5}
    assert row(outcome, "torch fp32", threads=2).faster_than == {SINGLE: 40 / 30}


def test_times_of_different_amounts_are_compared_per_unit(clock) -> None:  # type: ignore[no-untyped-def]
    loop = Side("loop", clock.taking(6.0), Work(2, "image"), 1)
    other = Side("torch fp32", clock.taking(6.0), Work(1000, "MAC"), 1)
    ours = Side("bnnkit", clock.taking(3.0), Work(8, "image", 900), 1, None, ("xnor",), against=("loop", "torch fp32"))
    row = measure(Case("case", [loop, other, ours]), BUDGET).rows[2]
    assert row.faster_than == {"loop": 8, "torch fp32": 2}
    assert row.of_limit == 900 / 3 / 400


def test_work_that_is_no_products_has_no_limit(outcome: Outcome) -> None:
    pack = row(outcome, "bnnkit pack")
    assert (pack.rate, pack.tops, pack.of_limit, pack.of_popcount) == (10, None, None, None)
    assert row(outcome, "torch fp32").of_limit is None


def test_a_variant_that_the_kernel_lacks_is_left_out(outcome: Outcome) -> None:
    assert [(side.name, side.variant) for side in outcome.absent] == [("bnnkit pack", "amx")]
    assert [r.side for r in outcome.rows].count("bnnkit pack") == 1


def test_a_wrong_kernel_has_no_speed(outcome: Outcome) -> None:
    wrong = row(outcome, "bnnkit xnor", variant="avx512")
    assert (wrong.valid, wrong.seconds, wrong.rate, wrong.of_limit, dict(wrong.faster_than)) == (
        False, None, None, None, {},
    )  # fmt: skip
    report = Report("xnor", outcome.rows, outcome.limits, ())
    assert report.invalid == [wrong]
    document = report.document()
    assert document["valid"] is False
    printed = document["rows"][3]
    assert (printed["valid"], printed["seconds"], printed["per_second"], printed["tops"]) == (False, None, None, None)
    table = case_tables(report)[0]
    line = dict(zip(table.columns, table.rows[3], strict=True))
    assert {**line, "who": "", "variant": "", "threads": ""} == dict.fromkeys(table.columns, "") | {"median": INVALID}
    assert table.notes[0] == "INVALID: bnnkit xnor avx512 with 1 threads: 1 of 2 values differ (all)"


def test_a_busy_machine_is_seen_in_single_threads(clock) -> None:  # type: ignore[no-untyped-def]
    clock.on_core = 0.5
    one = Side("bnnkit xnor", clock.taking(4.0), Work(1000, "bMAC"), 1, None, ("xnor",))
    rows = measure(Case("case", [one, replace(one, threads=2)]), BUDGET, clock="cpu").rows
    assert [(r.on_core, r.rate) for r in rows] == [(0.5, 500), (None, 500)]


def test_nothing_is_timed_when_everything_is_wrong(clock) -> None:  # type: ignore[no-untyped-def]
    side = Side(
        "bnnkit xnor", clock.taking(1.0), Work(1, "bMAC"), 1, None, ("xnor",), lambda: Check(False, "all", "no")
    )
    outcome = measure(Case("case", [side]), BUDGET)
    assert [r.seconds for r in outcome.rows] == [None]
    assert clock.now == 0
    assert not outcome.limits


def test_memory_is_compared_too(clock) -> None:  # type: ignore[no-untyped-def]
    work = Work(1, "image")
    loop = Side("loop", clock.taking(4.0), work, 1, memory=lambda: 600)
    ours = Side("bnnkit", clock.taking(1.0), work, 1, None, ("xnor",), against=("loop",), memory=lambda: 150)
    rows = measure(Case("case", [loop, ours]), BUDGET).rows
    assert (rows[1].memory, rows[1].faster_than, rows[1].less_memory_than) == (150, {"loop": 4}, {"loop": 4})
    table = case_tables(Report("train", rows, (), ()))[0]
    assert table.columns[-3:] == ["vs loop", "peak memory", "memory of loop"]
    assert table.rows[1][-3:] == ["4x", "0 MB", "1/4"]
