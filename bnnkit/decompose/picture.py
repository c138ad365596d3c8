"""One layer as a picture: its weights, its planes, and the arrays that hold them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from bnnkit.atomic import write_png
from bnnkit.decompose.arrays import Placement
from bnnkit.decompose.planes import Decomposition
from bnnkit.decompose.result import check_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

USED, DUMMY, UNUSED, INK = "#4a7fb5", "#e08214", "#ececec", "#404040"
LEVELS, SIGNED = "Blues", "PuOr"
CROP = 64
"""Word lines and outputs that are shown of a matrix: more would be grey."""
MOST_BLOCKS = 40
"""Row and column blocks that are drawn of a map."""
PANELS_PER_ROW = 3


def draw(path: Path, planes: Decomposition) -> None:
    """Write a PNG with the corner of the weight matrix, of each of its planes, and the map of the arrays.

    Word lines are in the order in which the mapping puts them on arrays.

    Raises:
        UsageError: the file cannot be written under this name.
        MissingError: no space.
    """
    check_name(path, (".png",))
    # The figure is made without pyplot, which would look for a screen.
    from matplotlib.figure import Figure

    rows = math.ceil((planes.scheme.slices + 1) / PANELS_PER_ROW)
    figure = Figure(figsize=(13.5, 1.7 + max(1.5, rows) * 3.0), dpi=150, layout="constrained")
    figure.suptitle(title(planes), x=0.01, ha="left", color=INK, fontsize=12)
    parts = np.asarray(figure.subfigures(1, 2, width_ratios=(2, 1), wspace=0.03))
    _draw_planes(parts[0], planes, rows)
    _draw_map(parts[1], planes.placement)
    write_png(path, figure)


def title(planes: Decomposition) -> str:
    """Return in three lines what is shown."""
    placement, scheme = planes.placement, planes.scheme
    shape = "x".join(map(str, planes.weight.values.shape))
    count = f"{scheme.slices} slice{'s' if scheme.slices > 1 else ''}"
    encoding = f"{scheme.encoding} {scheme.offset}" if scheme.offset else scheme.encoding
    groups = f", {placement.groups} groups" if placement.groups > 1 else ""
    terms = " + ".join(f"{weight} s{c}" for c, weight in enumerate(scheme.weights)).replace("+ -", "- ")
    offset = f" - {scheme.offset}" if scheme.offset else ""
    return (
        f"{planes.name}: {shape}{groups}, {scheme.w_bit}-bit weights in {count} of {scheme.cell_bit}-bit cells, "
        f"{encoding}\n{placement.arrays:,} array{'s' if placement.arrays > 1 else ''} of {placement.layout.rows} word "
        f"lines x {placement.cols} bit lines: {placement.row_utilisation:.1f} % of the word lines and "
        f"{placement.column_utilisation:.1f} % of the bit lines are used\n"
        f"weight = {terms}{offset}"
    )


def _draw_planes(figure: SubFigure, planes: Decomposition, rows: int) -> None:
    axes = figure.subplots(rows, PANELS_PER_ROW, squeeze=False).ravel()
    tap = planes.placement.layout.tap
    values = _corner(planes.weight.values, tap)
    low, high = int(planes.weight.values.min()), int(planes.weight.values.max())
    bound = max(-low, high, 1)
    limits = (-bound, bound) if low < 0 else (0, bound)
    _panel(axes[0], values, "weights", SIGNED if low < 0 else LEVELS, limits, 1)
    for c, (width, weight) in enumerate(zip(planes.scheme.widths, planes.scheme.weights, strict=True)):
        levels = _corner(planes.plus[c], tap)
        highest = 2**width - 1
        name = f"slice {c} (x {weight})"
        if planes.differential:
            levels = levels - _corner(planes.minus[c], tap)
            _panel(axes[c + 1], levels, f"{name}, plus - minus", SIGNED, (-highest, highest), 2 * highest + 1)
        else:
            _panel(axes[c + 1], levels, name, LEVELS, (0, highest), highest + 1)
    for axis in axes[planes.scheme.slices + 1 :]:
        axis.set_visible(False)
    total_rows, outputs = planes.placement.matrix[0], planes.placement.outputs
    axes[0].set_ylabel(_part("word line", values.shape[0], total_rows), color=INK)
    axes[0].set_xlabel(_part("output", values.shape[1], outputs), color=INK)


def _panel(axes: Axes, image: Tensor, name: str, colours: str, limits: tuple[int, int], levels: int) -> None:
    from matplotlib import colormaps
    from matplotlib.ticker import MaxNLocator

    discrete = 1 < levels <= 16
    low, high = (limits[0] - 0.5, limits[1] + 0.5) if discrete else limits
    colour_map = colormaps[colours].resampled(levels) if discrete else colormaps[colours]
    shown = axes.imshow(
        image.numpy(), cmap=colour_map, vmin=low, vmax=high, interpolation="nearest", aspect="auto", origin="upper"
    )
    axes.set_title(name, loc="left", color=INK, fontsize=10)
    bar = axes.figure.colorbar(shown, ax=axes, fraction=0.05, pad=0.02, shrink=0.6, ticks=MaxNLocator(6, integer=True))
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=INK, length=0, labelsize=8)
    for axis, count in ((axes.xaxis, image.shape[1]), (axes.yaxis, image.shape[0])):
        axis.set_ticks(range(0, count, math.ceil(count / 4)))
    _dress(axes)
    axes.spines[:].set(visible=True, color=UNUSED)


def _corner(values: Tensor, tap: bool) -> Tensor:
    """Return the first word lines and outputs of a weight or plane: int [rows, outputs]."""
    if values.dim() < 2:
        matrix = values.reshape(1, -1)
    elif tap:
        matrix = values[:CROP].flatten(2).transpose(1, 2).flatten(1)
    else:
        matrix = values[:CROP].flatten(1)
    return matrix[:CROP, :CROP].int().T


def _draw_map(figure: SubFigure, placement: Placement) -> None:
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Patch, Rectangle

    axes = figure.subplots()
    gap = 0.06
    down, across = min(placement.row_blocks, MOST_BLOCKS), min(placement.column_blocks, MOST_BLOCKS)
    side = 1 - 2 * gap
    dummy = side * placement.dummies / placement.cols
    patches: dict[str, list[Rectangle]] = {UNUSED: [], USED: [], DUMMY: []}
    for r in range(down):
        height = side * placement.rows_of(r) / placement.layout.rows
        for c in range(across):
            left, top = c + gap, r + gap
            width = side * placement.columns_of(c) / placement.cols
            patches[UNUSED].append(Rectangle((left, top), side, side))
            patches[USED].append(Rectangle((left, top), width, height))
            patches[DUMMY].append(Rectangle((left + width, top), dummy, height))
    for colour, rectangles in patches.items():
        axes.add_collection(PatchCollection(rectangles, facecolor=colour, edgecolor="none", antialiased=False))
    axes.set_xlim(0, across)
    axes.set_ylim(down, 0)
    axes.set_aspect(_aspect(down, across))
    axes.set_anchor("N")
    for axis, count in ((axes.xaxis, across), (axes.yaxis, down)):
        shown = range(0, count, math.ceil(count / 10))
        axis.set_ticks([block + 0.5 for block in shown], [str(block) for block in shown])
    axes.set_xlabel(_part("column block: outputs", across, placement.column_blocks), color=INK)
    axes.set_ylabel(_part(_row_block_name(placement), down, placement.row_blocks), color=INK)
    groups = f", one of {placement.groups} groups" if placement.groups > 1 else ""
    axes.set_title(f"array map{groups}", loc="left", color=INK, fontsize=10)
    labels = [(USED, "weights"), (UNUSED, "unused")]
    labels += [(DUMMY, "dummy columns (offset)")] if placement.dummies else []
    figure.legend(
        handles=[Patch(color=colour, label=label) for colour, label in labels],
        loc="outside upper left",
        ncols=3,
        frameon=False,
        fontsize=9,
        labelcolor=INK,
    )
    _dress(axes)


def _aspect(down: int, across: int) -> float:
    """Return height over width of one array, so that the map is neither a thread nor taller than its panel."""
    return min(max(1.6 * across / down, 0.2), 5.0) if down > 1.6 * across or across > 2 * down else 1.0


def _row_block_name(placement: Placement) -> str:
    layout = placement.layout
    if not layout.tap:
        return "row block: inputs"
    return "row block: kernel taps" if layout.chunks == 1 else "row block: kernel taps, cut into inputs"


def _part(what: str, shown: int, count: int) -> str:
    return what if shown == count else f"{what} (first {shown} of {count:,})"


def _dress(axes: Axes) -> None:
    axes.tick_params(colors=INK, length=0, labelsize=8)
    axes.spines[:].set_visible(False)


def largest(layers: Sequence[Decomposition]) -> Decomposition:
    """Return the layer with the most weights; the first of several."""
    return max(layers, key=lambda planes: planes.weight.values.numel())
