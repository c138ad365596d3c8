"""The rows of a report as tables for people, one per case."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bnnkit.bench.report import Limit, Report, Row

INVALID = "INVALID"


@dataclass(frozen=True)
class Table:
    """One case: title, column heads, cells, and lines below it."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    notes: Sequence[str]


def case_tables(report: Report) -> list[Table]:
    """Return a table per case, in order, without columns that have nothing in them."""
    tables = []
    for case in dict.fromkeys(row.case for row in report.rows):
        rows = [row for row in report.rows if row.case == case]
        heads = _heads(rows)
        cells = [[head(row) for head in heads.values()] for row in rows]
        used = [i for i in range(len(heads)) if any(line[i] != "" for line in cells)]
        columns = [list(heads)[i] for i in used]
        limits = [limit for limit in report.limits if limit.case == case]
        tables.append(Table(case, columns, [[line[i] for i in used] for line in cells], _notes(rows, limits)))
    return tables


def _heads(rows: Sequence[Row]) -> dict[str, Callable[[Row], object]]:
    rivals = dict.fromkeys(name for row in rows for name in row.faster_than)
    by_memory = dict.fromkeys(name for row in rows for name in row.less_memory_than)
    return {
        "who": lambda row: row.side,
        "variant": lambda row: " ".join(dict.fromkeys(row.variants.values())),
        "threads": lambda row: row.threads,
        "median": lambda row: INVALID if row.seconds is None else duration(row.seconds.median),
        "quartiles": lambda row: "" if row.seconds is None else " - ".join(map(duration, row.seconds.quartiles)),
        "rate": lambda row: "" if row.rate is None else rate(row.rate, row.work.unit),
        "TOP/s": lambda row: "" if row.tops is None else f"{row.tops:.3f}",
        "of limit": lambda row: _percent(row.of_limit),
        "of popcount loop": lambda row: _percent(row.of_popcount),
        **{f"vs {name}": _ratio(name) for name in rivals},
        "peak memory": lambda row: "" if row.memory is None else f"{row.memory / 1e6:,.0f} MB",
        **{f"memory of {name}": _memory_ratio(name) for name in by_memory},
    }


def _ratio(name: str) -> Callable[[Row], object]:
    return lambda row: f"{row.faster_than[name]:.3g}x" if name in row.faster_than else ""


def _memory_ratio(name: str) -> Callable[[Row], object]:
    return lambda row: f"1/{row.less_memory_than[name]:.3g}" if name in row.less_memory_than else ""


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _notes(rows: Sequence[Row], limits: Sequence[Limit]) -> list[str]:
    checks: dict[str, list[str]] = {}
    wrong = []
    for row in rows:
        if row.check is None:
            continue
        if row.check.passed:
            checks.setdefault(row.check.compared, []).append(row.side)
        else:
            who = f"{row.side} {' '.join(row.variants.values())} with {row.threads} threads"
            wrong.append(f"{INVALID}: {who}: {row.check.detail} ({row.check.compared})")
    verified = [f"verified ({compared}): {', '.join(dict.fromkeys(sides))}" for compared, sides in checks.items()]
    loops = [f"{x.variant} {x.threads}x {x.rates.median / 1e12:.3f}" for x in limits]
    for row in rows:
        if row.stages:
            shares = ", ".join(f"{stage} {share:.1%}" for stage, share in row.stages.items())
            verified.append(f"time of {row.side} on {row.threads} threads: {shares}")
    return [*wrong, *verified, *([f"limit loops, T bMAC/s: {', '.join(loops)}"] if loops else [])]


def duration(seconds: float) -> str:
    """Return a time with its unit.

    >>> duration(0.01234), duration(2.0), duration(4.2e-5)
    ('12.3 ms', '2.00 s', '42.0 us')
    """
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{_three_digits(seconds / size)} {unit}"
    return f"{_three_digits(seconds / 1e-6)} us"


def rate(per_second: float, unit: str) -> str:
    """Return a rate with its unit.

    >>> rate(2.41e12, "bMAC"), rate(37.25, "image"), rate(5.5e9, "weight")
    ('2.41 T bMAC/s', '37.2 images/s', '5.50 G weights/s')
    """
    sizes = {"T ": 1e12} if unit in ("bMAC", "MAC") else {"G ": 1e9, "M ": 1e6, "": 1.0}
    prefix = next((p for p, size in sizes.items() if per_second >= size / 10), list(sizes)[-1])
    name = unit if unit in ("bMAC", "MAC") else f"{unit}s"
    return f"{_three_digits(per_second / sizes[prefix])} {prefix}{name}/s"


def _three_digits(value: float) -> str:
    return f"{value:.{max(0, 2 - len(str(int(value))) + 1) if value >= 1 else 3}f}"
