"""The chips that low-precision layers are measured on, and what there is to count on them."""

from __future__ import annotations

from bnnkit.cim import Chip, parse_cell
from bnnkit.nn import ProgrammedLayer

AO_BIT = W_BIT = 4
ADC_BIT = 6
CELLS = {"ideal": "ideal cells", "rram:sigma=0.05": "cells rram:sigma=0.05"}
"""As `parse_cell` reads them -> as titles name them."""


def chip(cell: str, cell_bit: int) -> Chip:
    """Return a chip with arrays of 128 rows, one kernel tap each, and 6-bit converters."""
    return Chip(cell_bit=cell_bit, adc_bit=ADC_BIT, cell=parse_cell(cell))


def bit_products(arrays: ProgrammedLayer, pixels: int) -> int:
    """Return the 1-bit products of `pixels` output pixels: input bits x planes of cells x weights.

    0 for cells that are not ideal: they add numbers, no bits.
    """
    if not arrays.chip.cell.ideal:
        return 0
    return arrays.bits * len(arrays.cells.data) * arrays.kernels.numel() * pixels
