"""Accuracy over the rate of faults as a picture."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnnkit.atomic import write_png
from bnnkit.faults.tolerance import Knee, knee_band
from bnnkit.train.chip_picture import COLOURS as SIX
from bnnkit.train.chip_picture import GRID, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = (*SIX, "#000000", "#882255")
MARKERS = ("o", "s", "^", "v", "P", "X", "p", "h")
"""As many as colours: lines can be told apart without them."""
GOLDEN = "#7f7f7f"
LETTERS = 30
"""Of a line of the legend."""
TITLE_LETTERS = 82
MOST_TICKS = 9


@dataclass(frozen=True)
class Series:
    """One line: mean accuracies, and the ends of their 95 % intervals, in percent.

    Attributes:
        rates: of the faults, or standard deviations, at least 0 and increasing.
    """

    name: str
    rates: Sequence[float]
    means: Sequence[float]
    lows: Sequence[float]
    highs: Sequence[float]


def draw(
    path: Path,
    title: str,
    unit_label: str,
    golden: float,
    series: Sequence[Series],
    *,
    chance: float | None = None,
    drop: float = 1.0,
) -> None:
    """Write a PNG; see `lines`.

    Raises:
        MissingError: no space, or no folder.
    """
    write_png(path, lines(title, unit_label, golden, series, chance=chance, drop=drop))


def lines(
    title: str,
    unit_label: str,
    golden: float,
    series: Sequence[Series],
    *,
    chance: float | None = None,
    drop: float = 1.0,
) -> Figure:
    """Return a figure with a line, the band of its intervals and its knee for each series.

    The axis of rates is logarithmic; up to the smallest one above 0 it is linear if there is a rate 0. Between points
    `bnnkit.faults.tolerance.knee` interpolates in the same way: knees lie on their lines if all have the same rates.

    Args:
        unit_label: what the rates are, under their axis.
        golden: accuracy without faults, in percent.
        chance: accuracy of guessing, in percent.
        drop: from golden to the knee, in points.
    """
    # The figure is made without pyplot, which would look for a screen.
    from matplotlib.figure import Figure

    heading = "\n".join(textwrap.fill(line, TITLE_LETTERS) for line in title.splitlines())
    rows = sum(_name(one).count("\n") + 2 for one in series)
    figure = Figure(figsize=(10, max(5.5, 1.7 + 0.19 * rows)), dpi=150, layout="constrained")
    figure.suptitle(heading, x=0.01, ha="left", color=INK, fontsize=11)
    axes = figure.subplots()
    _scale(axes, sorted({rate for one in series for rate in one.rates}))
    axes.axhline(golden, color=GOLDEN, linestyle="--", linewidth=1.5, label=f"golden {golden:.2f} %")
    if chance is not None:
        axes.axhline(chance, color=GOLDEN, linestyle=":", linewidth=1.5, label=f"chance {chance:.4g} %")
    found = [knee_band(one.rates, one.means, one.lows, one.highs, golden, drop) for one in series]
    for number, (one, band) in enumerate(zip(series, found, strict=True)):
        _line(axes, one, f"{_name(one)}\n{describe(band, one.rates)}", number)
    points = "point" if drop == 1 else "points"
    axes.plot([], [], label=f"knee: {drop:g} {points} below golden", **_DIAMOND, color=INK)
    axes.set_ylabel("accuracy [%]", color=INK)
    axes.set_ylim(max(-1.0, axes.get_ylim()[0]), min(101.0, axes.get_ylim()[1]))
    for number, (one, band) in enumerate(zip(series, found, strict=True)):
        if band.knee is not None:
            # A line that begins below has its knee at its first point.
            _mark(axes, band.knee, min(golden - drop, one.means[0]), _colour(number))
    axes.set_xlabel(unit_label, color=INK)
    axes.grid(color=GRID, linewidth=0.8)
    axes.tick_params(colors=INK, length=0)
    axes.spines[:].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False, fontsize=9, labelcolor=INK)
    return figure


def describe(found: Knee, rates: Sequence[float]) -> str:
    """Say in a few words where a knee is, and between which rates it may be.

    >>> describe(Knee(0.0008, 0.00123, None), [0.0001, 0.1])
    'knee 0.00123 (0.0008 to > 0.1)'
    >>> describe(Knee(None, None, None), [0.0001, 0.1])
    'knee > 0.1'
    """
    low, middle, high = (_bound(rate, rates) for rate in found)
    return f"knee {middle}" if low == middle == high else f"knee {middle} ({low} to {high})"


_POWERS = {float(f"1e{power}"): f"$10^{{{power}}}$" for power in range(-300, 300)}
_DIAMOND: dict[str, Any] = {
    "marker": "D",
    "markersize": 9,
    "markeredgecolor": "white",
    "markeredgewidth": 1.2,
    "linestyle": "none",
}


def _line(axes: Axes, one: Series, label: str, number: int) -> None:
    style = ("-", "--", ":")[number // len(COLOURS) % 3]
    axes.fill_between(one.rates, one.lows, one.highs, color=_colour(number), alpha=0.2, linewidth=0)
    # A band of one point has no width.
    axes.vlines(one.rates, one.lows, one.highs, color=_colour(number), alpha=0.6, linewidth=1)
    look: dict[str, Any] = {"marker": MARKERS[number % len(MARKERS)], "markersize": 5, "linewidth": 1.8}
    axes.plot(one.rates, one.means, color=_colour(number), linestyle=style, label=label, **look)


def _mark(axes: Axes, rate: float, height: float, colour: str) -> None:
    axes.vlines(rate, axes.get_ylim()[0], height, color=colour, linewidth=0.8, linestyle=":")
    axes.plot([rate], [height], color=colour, zorder=5, **_DIAMOND)


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _name(one: Series) -> str:
    return textwrap.fill(one.name, LETTERS)


def _bound(rate: float | None, rates: Sequence[float]) -> str:
    if rate is None:
        return f"> {_short(max(rates))}"
    return f"{'≤ ' if 0 < rate <= min(rates) else ''}{_short(rate)}"


def _short(number: float) -> str:
    return f"{number:.3g}".replace("e-0", "e-")


def _scale(axes: Axes, rates: Sequence[float]) -> None:
    """Set the scale of the axis of rates, which are increasing, and its ticks: those of matplotlib are too few here."""
    above = [rate for rate in rates if rate > 0]
    if not above:
        return
    zero = above != list(rates)
    if zero:
        axes.set_xscale("symlog", linthresh=above[0], linscale=0.5)
    else:
        axes.set_xscale("log")
    places = [0.0] * zero + _ticks(above)
    # Either all of them as powers, or none; 0 stays 0.
    powers = len(places) > 1 and min(above) < 0.001 and set(places[zero:]) <= _POWERS.keys()
    axes.set_xticks(places, [_POWERS.get(place, "0") if powers else _short(place) for place in places])
    axes.minorticks_off()


def _ticks(rates: Sequence[float]) -> list[float]:
    """Return round numbers between the first and the last of some rates above 0, or else the rates.

    >>> _ticks([0.01, 0.05, 0.3]), _ticks([1e-5, 3e-3]), _ticks([0.03, 0.04])
    ([0.01, 0.02, 0.05, 0.1, 0.2], [1e-05, 0.0001, 0.001], [0.03, 0.04])
    """
    decades = range(math.floor(math.log10(rates[0])), math.ceil(math.log10(rates[-1])) + 1)
    steps = (1, 2, 5) if rates[-1] / rates[0] < 100 else (1,)
    every = [float(f"{step}e{decade}") for decade in decades for step in steps]
    found = [number for number in every if rates[0] <= number <= rates[-1]]
    return _thinned(found if len(found) > 1 else rates)


def _thinned(numbers: Sequence[float]) -> list[float]:
    return list(numbers[:: math.ceil(len(numbers) / MOST_TICKS)])
