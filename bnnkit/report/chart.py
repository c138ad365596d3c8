"""Lines as a picture in the page itself (SVG): in the colours of the page, legible on narrow screens and on paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from bnnkit.report.markup import Markup, element, join
from bnnkit.report.scale import Scale

COLOURS = 8
"""That style.css has."""
DASHES = (None, "6 3", "2 2.5")
MOST_MARKED = 40
"""Points of a line that are drawn one by one."""

WIDTH = 460
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 8, 38
NAME = 14
"""Above the pictures, for the name of the vertical axis."""


@dataclass(frozen=True)
class Line:
    """One line.

    Attributes:
        number: which colour and dash it has.
        points: x and y; y None is a gap.
        band: low and high at each of the points.
        faint: in the background.
        steps: a staircase: y holds until the next x.
        link: part of the page that its name in the legend leads to.
    """

    name: str
    number: int
    points: Sequence[tuple[float, float | None]]
    band: Sequence[tuple[float, float]] = ()
    faint: bool = False
    steps: bool = False
    marked: bool = True
    link: str | None = None


@dataclass(frozen=True)
class Mark:
    """A point of its own, with an interval if it has one."""

    name: str
    number: int
    x: float
    y: float
    interval: tuple[float, float] | None = None
    listed: bool = True


@dataclass(frozen=True)
class Rule:
    """A level from side to side."""

    name: str
    y: float
    dotted: bool = False


@dataclass(frozen=True)
class Chart:
    """Lines over two axes."""

    title: str
    x_name: str
    y_name: str
    x: Scale
    y: Scale
    lines: Sequence[Line]
    marks: Sequence[Mark] = ()
    rules: Sequence[Rule] = ()
    height: int = 290

    @property
    def top(self) -> float:
        return TOP + (NAME if self.y_name else 0)

    def across(self, value: float) -> float:
        return LEFT + self.x.place(value) * (WIDTH - LEFT - RIGHT)

    def down(self, value: float) -> float:
        return self.top + (1 - self.y.place(value)) * (self.height - self.top - BOTTOM)


def figure(chart: Chart, *, legend: bool = True, class_: str | None = None) -> Markup:
    """Return a chart under its title, with its legend."""
    listed = _legend(chart) if legend else None
    caption = element("figcaption", element("strong", chart.title), listed)
    return element("figure", caption, svg(chart), class_=join(["chart", class_], " "))


def svg(chart: Chart) -> Markup:
    """Return a chart alone."""
    return element(
        "svg",
        _axes(chart),
        *(_band(chart, line) for line in chart.lines if line.band),
        *(_rule(chart, rule) for rule in chart.rules),
        *(_line(chart, line) for line in chart.lines),
        *(_mark(chart, mark) for mark in chart.marks),
        viewBox=f"0 0 {WIDTH} {chart.height}",
        role="img",
        aria_label=f"{chart.title} over {chart.x_name}",
    )


def _axes(chart: Chart) -> Markup:
    right, bottom = WIDTH - RIGHT, chart.height - BOTTOM
    drawn: list[Markup] = []
    for value, text in chart.y.ticks():
        y = chart.down(value)
        drawn.append(element("path", d=f"M{LEFT} {y:.1f}H{right}", class_="grid"))
        drawn.append(element("text", text, x=LEFT - 6, y=f"{y + 3.7:.1f}", text_anchor="end"))
    for value, text in chart.x.ticks():
        x = chart.across(value)
        drawn.append(element("path", d=f"M{x:.1f} {chart.top}V{bottom}", class_="grid"))
        drawn.append(element("text", text, x=f"{x:.1f}", y=bottom + 15, text_anchor="middle"))
    drawn.append(element("text", chart.y_name, x=2, y=11))
    drawn.append(element("text", chart.x_name, x=(LEFT + right) / 2, y=chart.height - 6, text_anchor="middle"))
    return element("g", *drawn)


def _pieces(line: Line) -> list[list[tuple[float, float]]]:
    """Return the points between the gaps."""
    found = []
    for known, points in groupby(line.points, key=lambda point: point[1] is not None):
        if known:
            found.append([(x, y) for x, y in points if y is not None])
    return found


def _line(chart: Chart, line: Line) -> Markup:
    path = ""
    for piece in _pieces(line):
        places = [(chart.across(x), chart.down(y)) for x, y in piece]
        path += f"M{places[0][0]:.1f} {places[0][1]:.1f}"
        for x, y in places[1:]:
            path += f"H{x:.1f}V{y:.1f}" if line.steps else f"L{x:.1f} {y:.1f}"
    dash = DASHES[line.number // COLOURS % len(DASHES)]
    drawn = [element("path", d=path, class_="line", stroke_dasharray=dash)]
    if line.marked and len(line.points) <= MOST_MARKED:
        drawn += [
            element(
                "circle",
                element("title", f"{line.name}: {_exact(y)} at {chart.x_name} {_exact(x)}"),
                cx=f"{chart.across(x):.1f}",
                cy=f"{chart.down(y):.1f}",
                r=2.6,
            )
            for piece in _pieces(line)
            for x, y in piece
        ]
    return element("g", *drawn, class_=f"{_colour(line.number)}{' faint' if line.faint else ''}")


def _band(chart: Chart, line: Line) -> Markup:
    places = [chart.across(x) for x, _ in line.points]
    lows, highs = ([chart.down(bounds[end]) for bounds in line.band] for end in (0, 1))
    upper = [f"{x:.1f} {y:.1f}" for x, y in zip(places, highs, strict=True)]
    lower = [f"{x:.1f} {y:.1f}" for x, y in zip(places, lows, strict=True)]
    # Bands of neighbours overlap, and one of a single point has no width: each interval is a stroke as well.
    strokes = "".join(f"M{x:.1f} {low:.1f}V{high:.1f}" for x, low, high in zip(places, lows, highs, strict=True))
    outline = f"M{'L'.join([*upper, *reversed(lower)])}Z"
    area = element("path", d=outline, class_="band")
    return element("g", area, element("path", d=strokes, class_="whisker"), class_=_colour(line.number))


def _rule(chart: Chart, rule: Rule) -> Markup:
    y = chart.down(rule.y)
    line = element("path", element("title", rule.name), d=f"M{LEFT} {y:.1f}H{WIDTH - RIGHT}", class_="line")
    return element("g", line, class_="rule dotted" if rule.dotted else "rule")


def _mark(chart: Chart, mark: Mark) -> Markup:
    x, y = chart.across(mark.x), chart.down(mark.y)
    drawn = []
    if mark.interval is not None:
        low, high = (chart.down(end) for end in mark.interval)
        ends = f"M{x - 4:.1f} {low:.1f}h8M{x - 4:.1f} {high:.1f}h8"
        drawn.append(element("path", d=f"M{x:.1f} {low:.1f}V{high:.1f}{ends}", class_="whisker"))
    drawn.append(element("path", element("title", mark.name), d=_diamond(x, y), class_="mark"))
    return element("g", *drawn, class_=_colour(mark.number))


def _legend(chart: Chart) -> Markup:
    entries = []
    for line in chart.lines:
        dash = DASHES[line.number // COLOURS % len(DASHES)]
        colour = f"{_colour(line.number)}{' faint' if line.faint else ''}"
        sample = element("path", d="M1 6H23", class_="line", stroke_dasharray=dash)
        name = line.name if line.link is None else element("a", line.name, href=line.link)
        entries.append((sample, colour, name))
    for rule in chart.rules:
        sample = element("path", d="M1 6H23", class_="line")
        entries.append((sample, "rule dotted" if rule.dotted else "rule", rule.name))
    for mark in chart.marks:
        if mark.listed:
            entries.append((element("path", d=_diamond(12, 6), class_="mark"), _colour(mark.number), mark.name))
    items = [
        element(
            "li", element("svg", element("g", sample, class_=colour), viewBox="0 0 24 12", aria_hidden="true"), name
        )
        for sample, colour, name in entries
    ]
    return element("ul", *items, class_="legend")


def _diamond(x: float, y: float) -> str:
    return f"M{x:.1f} {y - 5:.1f}l4.5 5l-4.5 5l-4.5 -5Z"


def _colour(number: int) -> str:
    return f"c{number % COLOURS}"


def _exact(value: float) -> str:
    return f"{value:.4g}"
