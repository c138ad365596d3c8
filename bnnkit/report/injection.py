"""One fault campaign as a part of the page."""

from __future__ import annotations

from collections.abc import Sequence

from bnnkit.cim import parse_fault
from bnnkit.cim.fault import unit
from bnnkit.errors import UsageError
from bnnkit.faults.curve import describe
from bnnkit.faults.tolerance import Knee
from bnnkit.report import chart
from bnnkit.report.chart import Chart, Line, Mark, Rule
from bnnkit.report.contents import Accuracy, FaultRow, FaultTable, Injection
from bnnkit.report.embedded import figure
from bnnkit.report.markup import Markup, element, join, table, terms
from bnnkit.report.scale import Linear, Rates

COLUMNS = ["maps", "accuracy, percent", "95 % interval", "correct", "change", "SDC %", "yield"]


def section(found: Injection) -> Markup:
    """Return what was faulty, the tables, the curve and the pictures."""
    parts: list[object] = [element("div", element("p", f"{found.network}, on {found.dataset}"), class_="lead")]
    parts.append(_tiles(found))
    curve = _curve(found)
    if curve is not None:
        parts.append(element("div", curve, class_="charts one"))
    for fault_table in found.tables:
        parts += [element("h3", fault_table.heading), _table(found, fault_table)]
        parts += [element("p", note, class_="note") for note in _knee(fault_table)]
    if found.pictures:
        parts.append(element("h3", "Pictures"))
    parts += [figure(picture, _alternative(picture.path.name)) for picture in found.pictures]
    return join([*parts, *(element("p", note, class_="note") for note in _notes(found))])


def finding(found: Injection) -> str:
    """Return in a few words what the faults cost.

    Every curve has its knee, every other table its rows.
    """
    told = []
    for one in found.tables:
        if one.is_curve and one.knee is not None:
            told.append(f"{one.heading}: {describe(Knee(*one.knee), _amounts(one))}")
        else:
            shown = ", ".join(f"{row.name} {row.accuracy.value:.2f}" for row in one.rows[:4])
            more = f" and {len(one.rows) - 4} more" if len(one.rows) > 4 else ""
            told.append(f"{one.heading}: {shown}{more}")
    return "; ".join(told[:3]) + (f"; and {len(told) - 3} more tables" if len(told) > 3 else "")


def _tiles(found: Injection) -> Markup:
    golden, results = found.golden, found.results or {}
    without = None if golden is None else join([f"{golden.value:.2f} %", element("small", f"{golden.counted} images")])
    interval = None if golden is None else join([golden.interval, element("small", "percent (Wilson)")])
    maps = [row.maps for one in found.tables for row in one.rows if row.maps is not None]
    pairs = [
        ("without faults (golden)", without),
        ("95 % interval", interval),
        ("fault maps", join([f"{max(maps):,}", element("small", "per row, at most")]) if maps else None),
        ("backend", results.get("backend")),
    ]
    return terms(pairs, "tiles")


def _table(found: Injection, one: FaultTable) -> Markup:
    amounts = any(row.amount is not None for row in one.rows)
    columns = ["amount" if amounts else "row", *COLUMNS]
    golden = [] if found.golden is None else [["golden", None, *_accuracy(found.golden), None, None, None]]
    return table(columns, [*golden, *(_row(row) for row in one.rows)], label=one.heading)


def _row(row: FaultRow) -> list[object]:
    return [
        row.name,
        row.maps,
        *_accuracy(row.accuracy),
        None if row.change is None else f"{row.change:+.2f}",
        None if row.changed is None else f"{row.changed:.2f}",
        None if row.tolerated is None else row.tolerated,
    ]


def _accuracy(found: Accuracy) -> list[object]:
    bar = element("span", f"{found.value:.2f}", class_="bar", style=f"--share:{found.value:.2f}%")
    return [bar, found.interval, found.counted]


def _curve(found: Injection) -> Markup | None:
    """Return all curves in one picture; None where there is none."""
    curves = [one for one in found.tables if one.is_curve]
    if not curves or found.golden is None:
        return None
    golden = found.golden.value
    rules = [Rule(f"golden {golden:.2f} %", golden)]
    if found.classes is not None:
        rules.append(Rule(f"chance {100 / found.classes:.4g} %", 100 / found.classes, dotted=True))
    lines: list[Line] = []
    marks: list[Mark] = []
    for number, one in enumerate(curves):
        knee = None if one.knee is None else Knee(*one.knee)
        told = "" if knee is None else f", {describe(knee, _amounts(one))}"
        # Amounts may have been asked for in any order.
        rows = sorted(one.rows, key=lambda row: row.amount or 0.0)
        points: list[tuple[float, float | None]] = [(row.amount or 0.0, row.accuracy.value) for row in rows]
        band = [(row.accuracy.low, row.accuracy.high) for row in rows]
        lines.append(Line(f"{one.heading}{told}", number, points, band))
        if knee is not None and knee.knee is not None:
            # A line that begins below has its knee at its first point.
            height = min(golden - one.drop, rows[0].accuracy.value)
            # The legend has one entry for all of them.
            name = f"knee: {_points(one.drop)} below golden"
            marks.append(Mark(name, number, knee.knee, height, listed=not marks))
    known = [end for line in lines for bounds in line.band for end in bounds] + [rule.y for rule in rules]
    x = Rates(sorted({amount for one in curves for amount in _amounts(one)}))
    drawn = Chart(
        "Accuracy over faults", _unit(curves), "percent", x, Linear.around(known, 0, 100), lines, marks, rules
    )
    return chart.figure(drawn)


def _unit(curves: Sequence[FaultTable]) -> str:
    try:
        return " and ".join(dict.fromkeys(unit(parse_fault(fault)) for fault in curves[0].faults)) or "amount"
    except UsageError:
        # A run of another version, with faults that this one does not have.
        return "amount"


def _amounts(one: FaultTable) -> list[float]:
    return [row.amount for row in one.rows if row.amount is not None]


def _knee(one: FaultTable) -> list[str]:
    if one.knee is None:
        return []
    low, knee, high = one.knee
    if knee is None:
        return [f"Knee: the mean stays within {_points(one.drop)} of golden."]
    ends = ["beyond" if end is None else f"{end:.3g}" for end in (low, high)]
    return [f"Knee, {_points(one.drop)} below golden: {knee:.3g} ({ends[0]} to {ends[1]})."]


def _points(drop: float) -> str:
    return f"{drop:g} point{'' if drop == 1 else 's'}"


def _alternative(name: str) -> str:
    return "images as stored, faulty and repaired" if name == "images.png" else name


def _notes(found: Injection) -> list[str]:
    results = found.results or {}
    notes = []
    if not found.finished:
        count = sum(row.maps or 0 for one in found.tables for row in one.rows) + (found.golden is not None)
        notes.append(
            f"Not finished: {count:,} evaluations so far; bnnkit inject --resume {found.run.name} does the rest."
        )
    if found.limited:
        notes.append(f"Limited: {found.images:,} of {found.of_images:,} test images.")
    notes.append(
        "Intervals: over fault maps (Student's t); where there is one or none, over images (Wilson). Change: points "
        "against golden. SDC: predictions that differ from golden's."
    )
    drops = sorted({one.drop for one in found.tables}) if found.finished else []
    notes += [f"Yield: maps with at most {_points(drop)} less than golden." for drop in drops]
    elsewhere = results.get("picture")
    if elsewhere and not found.pictures and not any(one.is_curve for one in found.tables):
        # What lies there now may be the picture of a later run.
        notes.append(f"The picture was written outside of the run directory, to {elsewhere}.")
    return notes
