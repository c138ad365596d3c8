"""A network on arrays as a part of the page: the map, a table per layer, parameters and converters."""

from __future__ import annotations

import torch

from bnnkit.cim import Adc
from bnnkit.decompose import Placement
from bnnkit.report import chart
from bnnkit.report.chart import Chart, Line
from bnnkit.report.hardware import COLS, ArrayLayer, Hardware
from bnnkit.report.markup import Markup, element, join, table, terms
from bnnkit.report.scale import Linear, short

MOST_BLOCKS = 160
"""Row and column blocks of a layer that are drawn."""
LARGEST, SMALLEST = 15.0, 5.0
"""Sides of one array on the map, in pixels."""
HIGH, NARROW = 420, 270
"""Pixels that a map should not exceed, and up to which two layers fit beside each other."""
MOST_NAMED = 4
FINE = 8
"""Points per unit of the partial sum at which a converter is evaluated for its picture."""


def section(found: Hardware, weights_of: str) -> Markup:
    """Return what a network occupies.

    Args:
        weights_of: the file that was read.
    """
    parts: list[object] = [element("h3", "Network on arrays"), _tiles(found)]
    if found.layers:
        parts += [_map(found), _table(found)]
    parts += [element("p", note, class_="note") for note in _notes(found, weights_of)]
    if found.converters:
        drawn = [_staircase(adc, layers) for adc, layers in found.converters]
        parts += [element("h3", "Converters"), element("div", *drawn, class_="charts")]
    return join(parts)


def _tiles(found: Hardware) -> Markup:
    counts = [
        f"{count:,} {'in full precision' if bits == 'fp' else f'of {bits} bit'}"
        for bits, count in found.parameters.items()
        if count
    ]
    total = sum(found.parameters.values())
    stored = f"{found.stored / 1e6:.3g} MB" if found.stored >= 1e6 else f"{found.stored / 1e3:.3g} kB"
    pairs: list[tuple[object, object]] = [
        ("parameters", join([f"{total:,}", element("small", ", ".join(counts))])),
        ("size", join([stored, element("small", "weights packed")])),
    ]
    if found.layers:
        used = sum(layer.placement.cells_used for layer in found.layers)
        share = 100 * used / sum(layer.placement.cells_available for layer in found.layers)
        pairs += [
            ("arrays", join([f"{found.arrays:,}", element("small", f"{share:.1f} % of their cells used")])),
            ("conversions", join([f"{found.conversions:,}", element("small", "per image")])),
        ]
    return terms(pairs, "tiles")


def _map(found: Hardware) -> Markup:
    key = [("used", "weights"), ("idle", "unused cells")]
    if any(layer.placement.dummies for layer in found.layers):
        key.insert(1, ("dummy", "dummy columns (offset)"))
    items = [element("li", element("i", class_=kind), name) for kind, name in key]
    caption = element(
        "figcaption",
        element("strong", "Array map"),
        element("ul", *items, class_="legend"),
        element("p", f"A square is an array of {_size(found)}; word lines from left to right, bit lines downwards."),
    )
    side = min(LARGEST, max(SMALLEST, HIGH / sum(_drawn(layer.placement)[1] for layer in found.layers)))
    narrow = all(layer.placement.row_blocks * side <= NARROW for layer in found.layers)
    drawn = element(
        "div",
        *(_layer_map(layer, side) for layer in found.layers),
        class_=f"scroll maps{' two' if narrow else ''}",
        tabindex="0",
        role="region",
        aria_label="array map",
    )
    return element("figure", caption, drawn, class_="arrays")


def _layer_map(layer: ArrayLayer, side: float) -> Markup:
    """Return the arrays of a layer, row blocks from left to right: there are more of them, and a page is wide."""
    placement = layer.placement
    across, down = _drawn(placement)
    inner = side - (2 if side == LARGEST else 1)
    # Few columns would be thinner than a pixel.
    dummy = max(1.0, inner * placement.dummies / placement.cols) if placement.dummies else 0.0
    paths = {"idle": "", "used": "", "dummy": ""}
    for r in range(across):
        wide = inner * placement.rows_of(r) / placement.layout.rows
        for c in range(down):
            high = inner * placement.columns_of(c) / placement.cols
            left, top = r * side, c * side
            paths["idle"] += _rectangle(left, top, inner, inner)
            paths["used"] += _rectangle(left, top, wide, high)
            paths["dummy"] += _rectangle(left, top + min(high, inner - dummy), wide, dummy) if dummy else ""
    drawn = element(
        "svg",
        element("title", _told(layer)),
        *(element("path", d=path, class_=kind) for kind, path in paths.items() if path),
        viewBox=f"0 0 {across * side:.0f} {down * side:.0f}",
        width=f"{across * side:.0f}",
        height=f"{down * side:.0f}",
        role="img",
    )
    cut = across < placement.row_blocks or down < placement.column_blocks
    blocks = f"{_groups(placement)}{placement.row_blocks}x{placement.column_blocks}{' (part)' if cut else ''}"
    return element("div", element("b", layer.name), element("span", blocks), drawn)


def _drawn(placement: Placement) -> tuple[int, int]:
    """Return the row and column blocks that are drawn."""
    return min(placement.row_blocks, MOST_BLOCKS), min(placement.column_blocks, MOST_BLOCKS)


def _rectangle(left: float, top: float, wide: float, high: float) -> str:
    return f"M{left:.1f} {top:.1f}h{wide:.2f}v{high:.2f}h{-wide:.2f}z"


def _told(layer: ArrayLayer) -> str:
    placement = layer.placement
    rows, columns = placement.matrix
    return (
        f"{layer.name}: {rows:,} x {columns:,} cells on {placement.arrays:,} arrays, "
        f"{placement.row_utilisation:.1f} % of the word lines, {placement.column_utilisation:.1f} % of the bit lines"
    )


def _table(found: Hardware) -> Markup:
    columns = ["layer", "weight", "bits a/w/ADC", "matrix", "blocks", "arrays", "rows used", "rows %", "columns %"]
    columns += ["conversions per image"]
    rows: list[list[object]] = [_row(layer) for layer in found.layers]
    rows.append(["total", *[""] * 4, f"{found.arrays:,}", "", "", "", f"{found.conversions:,}"])
    return table(columns, rows, label="layers on arrays", total=True)


def _row(layer: ArrayLayer) -> list[object]:
    placement = layer.placement
    rows, columns = placement.matrix
    groups = _groups(placement)
    return [
        layer.name,
        "x".join(map(str, layer.weight)),
        layer.bits,
        f"{groups}{rows:,}x{columns:,}",
        f"{groups}{placement.row_blocks}x{placement.column_blocks}",
        f"{placement.arrays:,}",
        _rows_used(placement),
        f"{placement.row_utilisation:.1f}",
        f"{placement.column_utilisation:.1f}",
        f"{layer.conversions:,}",
    ]


def _groups(placement: Placement) -> str:
    return f"{placement.groups} x " if placement.groups > 1 else ""


def _rows_used(placement: Placement) -> Markup:
    """Return the word lines in use of a full and of the last array, as text: they are no sum."""
    counts = list(dict.fromkeys(placement.rows_of(block) for block in range(placement.row_blocks)))
    return element("span", " or ".join(map(str, counts)), f" of {placement.layout.rows}")


def _size(found: Hardware) -> str:
    sizes = sorted({layer.placement.layout.rows for layer in found.layers})
    return f"{' or '.join(map(str, sizes))} word lines x {COLS} bit lines"


def _notes(found: Hardware, weights_of: str) -> list[str]:
    notes = [f"From {weights_of}."]
    if found.layers:
        mappings = sorted({layer.placement.mapping for layer in found.layers if layer.placement.mapping is not None})
        how = f", mapping {' and '.join(mappings)}" if mappings else ""
        notes.append(f"Arrays of {_size(found)}{how}; matrix and blocks are word lines x bit lines.")
        if not any(layer.converted for layer in found.layers):
            notes.append("Trained without converters: they are chosen when it is evaluated; conversions count any.")
    if found.digital:
        named = [f"{name} ({reason})" for name, reason in list(found.digital.items())[:MOST_NAMED]]
        more = f" and {len(found.digital) - MOST_NAMED} more" if len(found.digital) > MOST_NAMED else ""
        notes.append(f"On no array: {', '.join(named)}{more}.")
    return notes


def _staircase(adc: Adc, layers: int) -> Markup:
    rows = adc.rows
    sums = torch.arange(-rows * FINE, rows * FINE + 1) / FINE
    values = adc.convert(sums).tolist()
    points: list[tuple[float, float | None]] = [(-float(rows), values[0])]
    for ps, before, value in zip(sums[1:].tolist(), values, values[1:], strict=False):
        if value != before:
            points.append((ps, value))
    points.append((float(rows), values[-1]))
    levels = [adc.offset + adc.scale * level for level in adc.levels.tolist()]
    ideal = Line(
        "partial sum itself", 5, [(-float(rows), -float(rows)), (float(rows), float(rows))], faint=True, marked=False
    )
    stairs = Line("converted", 0, points, steps=True, marked=False)
    y = Linear.around([*levels, -float(rows), float(rows)])
    x = Linear(-1.04 * rows, 1.04 * rows)
    name = f"{len(levels)} levels, {layers} layer{'' if layers == 1 else 's'}"
    drawn = chart.figure(Chart(name, "partial sum", "converted value", x, y, [ideal, stairs]))
    edges = ", ".join(str(int(edge)) for edge in adc.thresholds(1))
    told = (
        f"Levels {', '.join(short(level) for level in levels)}. A whole partial sum reads the next level from {edges}"
    )
    return element("div", drawn, element("p", f"{told} on.", class_="note"))
