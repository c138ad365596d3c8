"""A sweep as a picture: heat maps where two labels vary, lines where one does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bnnkit.atomic import write_png
from bnnkit.sweep.table import Row, columns_of
from bnnkit.train.chip_picture import COLOURS, GRID, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DARK = 0.6
"""Colours above this share of the scale need dark letters."""
MOST_MAPS = 6
LETTERS = 14


def axes_of(rows: Sequence[Row], across: str | None = None) -> tuple[str, str] | None:
    """Return the labels along y and x of heat maps: the two with most values; None if fewer than two vary.

    Args:
        across: a label that must be x, where it varies.
    """
    varying = [name for name in columns_of(rows) if len({row.labels[name] for row in rows}) > 1]
    if len(varying) < 2:
        return None
    by_count = sorted(varying, key=lambda name: -len({row.labels[name] for row in rows}))
    first, second = by_count[:2]
    if across in varying:
        others = [name for name in by_count if name != across]
        return others[0], str(across)
    # The label that changes fastest in the table runs to the right.
    return (first, second) if varying.index(first) < varying.index(second) else (second, first)


def draw(folder: Path, title: str, rows: Sequence[Row], *, across: str | None = None) -> list[Path]:
    """Write heatmap.png or curve.png, whichever fits the rows, and return what was written.

    Raises:
        MissingError: no space.
    """
    known = [row for row in rows if row.mean is not None]
    if any(row.limited for row in known):
        title = f"{title} (limited: not all images or steps)"
    found = axes_of(known, across)
    if found is not None:
        return [_heat_maps(folder / "heatmap.png", title, known, *found)]
    varying = [name for name in columns_of(known) if len({row.labels[name] for row in known}) > 1]
    return [_line(folder / "curve.png", title, known, varying[0])] if varying else []


def _heat_maps(path: Path, title: str, rows: Sequence[Row], down: str, right: str) -> Path:
    from matplotlib.figure import Figure

    rest = [name for name in columns_of(rows) if name not in (down, right)]
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.labels[name] for name in rest), []).append(row)
    shown = list(groups.items())[:MOST_MAPS]
    wide = max(len({row.labels[right] for row in group}) for _, group in shown)
    heights = [1.1 + 0.5 * len({row.labels[down] for row in group}) for _, group in shown]
    size = (max(6.0, 2.4 + 0.95 * wide), 1.0 + sum(heights))
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    accuracies = [row.mean for _, group in shown for row in group if row.mean is not None]
    scale = (min(accuracies), max(max(accuracies), min(accuracies) + 1e-9))
    maps = figure.subplots(len(shown), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (values, group) in zip(maps, shown, strict=True):
        heading = ", ".join(f"{name} {value}" for name, value in zip(rest, values, strict=True) if value)
        _heat_map(axes, group, down, right, scale, heading)
    figure.suptitle(title, x=0.01, ha="left", color=INK, fontsize=11, wrap=True)
    write_png(path, figure)
    return path


def _heat_map(axes: Axes, rows: Sequence[Row], down: str, right: str, scale: tuple[float, float], heading: str) -> None:
    import numpy as np

    ys, xs = (list(dict.fromkeys(row.labels[name] for row in rows)) for name in (down, right))
    values = np.full((len(ys), len(xs)), np.nan)
    for row in rows:
        assert row.mean is not None
        y, x = ys.index(row.labels[down]), xs.index(row.labels[right])
        values[y, x] = row.mean
        share = (row.mean - scale[0]) / (scale[1] - scale[0])
        text = f"{row.mean:.2f}" + ("" if row.published is None else f"\n({row.published:.2f})")
        axes.text(x, y, text, ha="center", va="center", fontsize=8, color="#202020" if share > DARK else "white")
    axes.imshow(values, cmap="viridis", vmin=scale[0], vmax=scale[1], aspect="auto")
    axes.set_xticks(range(len(xs)), [_short(x) for x in xs])
    axes.set_yticks(range(len(ys)), [_short(y) for y in ys])
    axes.set_xlabel(right, color=INK)
    axes.set_ylabel(down, color=INK)
    beside = " (published)" if any(row.published is not None for row in rows) else ""
    axes.set_title(f"{heading + ': ' if heading else ''}test accuracy{beside} [%]", loc="left", fontsize=9, color=INK)
    axes.tick_params(colors=INK, length=0, labelsize=8)
    axes.spines[:].set_visible(False)


def _line(path: Path, title: str, rows: Sequence[Row], name: str) -> Path:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), dpi=150, layout="constrained")
    axes = figure.subplots()
    places = range(len(rows))
    means = [row.mean or 0.0 for row in rows]
    bars = "95 % interval" if all(row.interval for row in rows) else "standard deviation"
    axes.errorbar(
        places, means, yerr=_errors(rows), color=COLOURS[0], marker="o", capsize=3, label=f"here, {bars}",
        linestyle="-" if all(_is_number(row.labels[name]) for row in rows) else "none",
    )  # fmt: skip
    published = [(place, row.published) for place, row in zip(places, rows, strict=True) if row.published is not None]
    if published:
        axes.plot(*zip(*published, strict=True), color=COLOURS[1], marker="s", linestyle="none", label="published")
    axes.legend(frameon=False, fontsize=9, labelcolor=INK)
    axes.set_xticks(places, [_short(row.labels[name]) for row in rows])
    axes.set_xlabel(name, color=INK)
    axes.set_ylabel("test accuracy [%]", color=INK)
    axes.set_title(title, loc="left", color=INK, fontsize=11, wrap=True)
    axes.grid(color=GRID, linewidth=0.8)
    axes.tick_params(colors=INK, length=0)
    axes.spines[:].set_visible(False)
    write_png(path, figure)
    return path


def _errors(rows: Sequence[Row]) -> list[list[float]]:
    below, above = [], []
    for row in rows:
        mean, spread = row.mean or 0.0, row.spread or 0.0
        low, high = row.interval or (mean - spread, mean + spread)
        below.append(max(0.0, mean - low))
        above.append(max(0.0, high - mean))
    return [below, above]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _short(text: str) -> str:
    """Return a text with line breaks between its words, so that labels stay narrow."""
    lines = [""]
    for word in text.replace("/", "/ ").split():
        if lines[-1] and len(lines[-1]) + len(word) > LETTERS:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)
