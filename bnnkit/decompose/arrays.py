"""Which arrays the cells of one layer occupy, and how often their converters are used."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bnnkit.cim import Array, Layout, Mapping
from bnnkit.errors import UsageError


@dataclass(frozen=True)
class Placement:
    """One layer on arrays of `layout.rows` word lines and `cols` bit lines.

    The inputs of a group are cut into row blocks as the mapping says, its outputs into column blocks. All cells of a
    weight lie side by side in one array, and every array has its own dummy columns.

    Attributes:
        layout: the row blocks of one group.
        outputs: output channels of one group.
        groups: groups of the layer; they share no array.
        cols: bit lines of one array.
        columns: bit lines that one output needs.
        dummies: bit lines of every array that hold an offset.
        conversions_per_output: conversions of one output, in one array and for one bit of input.

    >>> placement = place([128, 128, 3, 3], Array(128, "tap"), cols=128, columns=4, dummies=4, slices=4)
    >>> placement.matrix, placement.row_blocks, placement.column_blocks, placement.arrays
    ((1152, 512), 9, 5, 45)
    """

    layout: Layout
    outputs: int
    groups: int
    cols: int
    columns: int
    dummies: int
    conversions_per_output: int

    @property
    def matrix(self) -> tuple[int, int]:
        """Word lines and bit lines of one group's weights, dummy columns not counted."""
        return self.layout.channels * self.layout.kernel_h * self.layout.kernel_w, self.outputs * self.columns

    @property
    def mapping(self) -> Mapping | None:
        """How inputs share word lines; None for a matrix, where there is nothing to choose."""
        if self.layout.kernel_h * self.layout.kernel_w == 1:
            return None
        return "tap" if self.layout.tap else "channel"

    @property
    def outputs_per_array(self) -> int:
        return min(self.outputs, (self.cols - self.dummies) // self.columns)

    @property
    def row_blocks(self) -> int:
        return self.layout.arrays

    @property
    def column_blocks(self) -> int:
        return -(-self.outputs // self.outputs_per_array)

    @property
    def arrays(self) -> int:
        return self.groups * self.row_blocks * self.column_blocks

    def rows_of(self, row_block: int) -> int:
        """Return how many word lines the arrays of a row block use."""
        return self.layout.rows_of(row_block)

    def columns_of(self, column_block: int) -> int:
        """Return how many bit lines hold weights in the arrays of a column block."""
        first = column_block * self.outputs_per_array
        return min(self.outputs_per_array, self.outputs - first) * self.columns

    @property
    def row_utilisation(self) -> float:
        """Share of the word lines that is used, in percent."""
        return 100 * self.matrix[0] / (self.row_blocks * self.layout.rows)

    @property
    def column_utilisation(self) -> float:
        """Share of the bit lines that holds weights or an offset, in percent."""
        return 100 * (self.matrix[1] + self.column_blocks * self.dummies) / (self.column_blocks * self.cols)

    @property
    def cells_used(self) -> int:
        """Cells that hold weights or an offset."""
        rows, columns = self.matrix
        return self.groups * rows * (columns + self.column_blocks * self.dummies)

    @property
    def cells_available(self) -> int:
        return self.arrays * self.layout.rows * self.cols

    @property
    def conversions(self) -> int:
        """ADC conversions for one bit of all inputs, at one position of the kernel."""
        return self.groups * self.row_blocks * self.outputs * self.conversions_per_output


def place(
    shape: Sequence[int], array: Array, *, cols: int, columns: int, dummies: int, slices: int, groups: int = 1
) -> Placement:
    """Place a weight of `shape` [out, in, ...] on arrays.

    Args:
        array: word lines and mapping; a matrix ignores the mapping, a vector counts as one output.
        cols: bit lines of one array.
        columns, dummies: bit lines of one output and of the offset.
        slices: bit lines of one output that are converted; the two of a differential pair count once.

    Raises:
        UsageError: not even one weight fits into the bit lines, or one channel's taps into the word lines.
    """
    if cols - dummies < columns:
        extra = f" and {dummies} dummy columns" if dummies else ""
        raise UsageError(
            f"array: {cols} bit lines; one weight needs {columns}{extra}", hint=f"--cols {columns + dummies} or more"
        )
    outputs, channels, *kernel = shape if len(shape) > 1 else (1, math.prod(shape))
    layout = array.layout(channels, math.prod(kernel[:-1]), kernel[-1]) if kernel else array.linear_layout(channels)
    return Placement(layout, outputs // groups, groups, cols, columns, dummies, slices)
