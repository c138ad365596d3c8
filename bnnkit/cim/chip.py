"""A chip that runs a low-precision network: its arrays, cells and converters, in one value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from bnnkit.cim.cells import CELLS, Cell
from bnnkit.cim.mapping import Array, Mapping
from bnnkit.cim.slicing import Encoding, Slicing
from bnnkit.errors import UsageError

ChipAdcBits: TypeAlias = int | Literal["fp"]

MAX_ADC_BIT = 8


@dataclass(frozen=True)
class Chip:
    """Inputs go in one bit at a time; every array, input bit and weight slice has a conversion of its own.

        y = sum over arrays s, input bits z, slices c of  2^z * weight[c] * ADC(v),   v = sum over rows of x_z * cell_c
        ADC(v) = code * step + low,   code = clamp(round((v - low) / step), 0, 2^k - 1),   step = (high - low) / 2^k

    Attributes:
        rows, mapping, channels_per_array: see `bnnkit.cim.Array`.
        cell_bit, encoding: see `bnnkit.cim.Slicing`.
        adc_bit: k, 1 to 8; "fp" for exact partial sums.
        cell: device of the cells.
        adc_offset: standard deviation of a column's converter offset, in cell steps.
        adc_gain: standard deviation of its gain error, as a share.
        seed: of everything that differs from chip to chip.

    Where low and high lie is decided by the ranges the chip is programmed with, see `bnnkit.cim.Ranges`.

    Raises:
        UsageError: impossible numbers.

    >>> Chip(cell_bit=2, adc_bit=6).array.rows
    128
    """

    rows: int = 128
    mapping: Mapping = "tap"
    channels_per_array: int | None = None
    cell_bit: int = 1
    encoding: Encoding = "offset"
    adc_bit: ChipAdcBits = 6
    cell: Cell = field(default_factory=lambda: CELLS.get("ideal"))
    adc_offset: float = 0.0
    adc_gain: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.adc_bit != "fp" and not 1 <= self.adc_bit <= MAX_ADC_BIT:
            raise UsageError(
                f"chip: {self.adc_bit}-bit converters; 1 to {MAX_ADC_BIT} bits or fp were needed", hint="--adc-bit 6"
            )
        for name in ("adc_offset", "adc_gain"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise UsageError(f"chip: {name} {getattr(self, name)}; 0 or more was needed", hint="leave it out")
        self.slicing(2)  # checks cell_bit and encoding
        _ = self.array

    @property
    def array(self) -> Array:
        return Array(self.rows, self.mapping, self.channels_per_array)

    def slicing(self, w_bit: int) -> Slicing:
        """Return how weights of `w_bit` bits lie in the cells."""
        return Slicing(w_bit, self.cell_bit, self.encoding)


def parse_chip_adc_bits(text: str | int) -> ChipAdcBits:
    """Return 1 to 8 or "fp" (exact partial sums).

    Raises:
        UsageError: for anything else.

    >>> parse_chip_adc_bits("6"), parse_chip_adc_bits("fp")
    (6, 'fp')
    """
    if str(text).lower() == "fp":
        return "fp"
    if str(text).isdecimal() and 1 <= int(text) <= MAX_ADC_BIT:
        return int(text)
    raise UsageError(f"adc bits: '{text}'; 1 to {MAX_ADC_BIT} or fp was needed", hint="--adc-bit 6")
