"""Accuracies of chips as a picture: against the bits of their converters, or against what their cells are like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnnkit.atomic import write_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
INK, GRID, SOFTWARE = "#404040", "#e5e5e5", "#7f7f7f"


def draw(path: Path, title: str, software: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a PNG.

    Args:
        software: {"accuracy", "wilson95"} in percent, of the network without arrays.
        rows: the same, with "cell", "cell_bit", "adc_bit" and, for several chips, "spread".
    """
    # The figure is made without pyplot, which would look for a screen.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), dpi=150, layout="constrained")
    axes = figure.subplots()
    low, high = software["wilson95"]
    axes.axhspan(low, high, color=SOFTWARE, alpha=0.15, linewidth=0)
    axes.axhline(software["accuracy"], color=SOFTWARE, linestyle="--", label=f"software {software['accuracy']:.2f} %")
    by_bits = len({row["adc_bit"] for row in rows}) > 1 or len({row["cell"] for row in rows}) == 1
    (_against_bits if by_bits else _against_cells)(axes, rows)
    axes.set_title(title, loc="left", color=INK, fontsize=11)
    axes.set_ylabel("test accuracy [%]", color=INK)
    axes.grid(color=GRID, linewidth=0.8)
    axes.tick_params(colors=INK, length=0)
    axes.spines[:].set_visible(False)
    axes.legend(frameon=False, fontsize=9, labelcolor=INK, loc="lower right" if by_bits else "lower left")
    write_png(path, figure)


def _against_bits(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    bits = sorted({row["adc_bit"] for row in rows}, key=_rank)
    kinds = list(dict.fromkeys((row["cell"], row["cell_bit"]) for row in rows))
    for (cell, cell_bit), colour in zip(kinds, COLOURS * (1 + len(kinds) // len(COLOURS)), strict=False):
        chosen = sorted(
            (row for row in rows if (row["cell"], row["cell_bit"]) == (cell, cell_bit)),
            key=lambda row: _rank(row["adc_bit"]),
        )
        _line(axes, [bits.index(row["adc_bit"]) for row in chosen], chosen, f"{cell}, {cell_bit}-bit cells", colour)
    axes.set_xticks(range(len(bits)), [str(bit) for bit in bits])
    axes.set_xlabel("bits of the converters", color=INK)


def _against_cells(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    cells = list(dict.fromkeys(row["cell"] for row in rows))
    # A line between settings of one device means something, between devices it does not.
    style = "-" if len({cell.partition(":")[0] for cell in cells}) == 1 else "none"
    for cell_bit, colour in zip(sorted({row["cell_bit"] for row in rows}), COLOURS, strict=False):
        chosen = [row for row in rows if row["cell_bit"] == cell_bit]
        label = f"{cell_bit}-bit cells, {chosen[0]['adc_bit']}-bit converters"
        _line(axes, [cells.index(row["cell"]) for row in chosen], chosen, label, colour, style)
    axes.set_xticks(range(len(cells)), cells, rotation=25, ha="right", fontsize=8)
    axes.set_xlabel("cells", color=INK)


def _line(
    axes: Axes, places: Sequence[int], rows: Sequence[Mapping[str, Any]], label: str, colour: str, style: str = "-"
) -> None:
    accuracy = [row["accuracy"] for row in rows]
    if any(row.get("spread") is not None for row in rows):
        below, above = ([row.get("spread") or 0.0 for row in rows] for _ in range(2))
    else:
        below = [row["accuracy"] - row["wilson95"][0] for row in rows]
        above = [row["wilson95"][1] - row["accuracy"] for row in rows]
    look: dict[str, Any] = {"color": colour, "marker": "o", "capsize": 3, "linestyle": style, "linewidth": 2}
    axes.errorbar(places, accuracy, yerr=[below, above], label=label, **look)


def _rank(bits: int | str) -> float:
    return float("inf") if bits == "fp" else float(bits)
