"""A chip that runs a low-precision network: its arrays, cells and converters, in one value."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from bnnkit.cim.cells import CELLS, Cell
from bnnkit.cim.curves import TableCurve
from bnnkit.cim.mapping import Array, Mapping
from bnnkit.cim.slicing import Encoding, Slicing
from bnnkit.errors import MismatchError, MissingError, UsageError

ChipAdcBits: TypeAlias = int | Literal["fp"]

MAX_ADC_BIT = 8
MOST_LEVELS = 255


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
        curve: a non-uniform or measured converter in cell steps, the same everywhere, instead of ranges and adc_bit;
            its outputs lie on at most 255 equal steps.
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
    curve: TableCurve | None = None
    adc_offset: float = 0.0
    adc_gain: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.adc_bit != "fp" and not 1 <= self.adc_bit <= MAX_ADC_BIT:
            raise UsageError(
                f"chip: {self.adc_bit}-bit converters; 1 to {MAX_ADC_BIT} bits or fp were needed", hint="--adc-bit 6"
            )
        if self.curve is not None and max(self.curve.levels) > MOST_LEVELS:
            raise UsageError(
                f"chip: converter curve with outputs on {max(self.curve.levels)} steps; at most {MOST_LEVELS} equal "
                "steps were needed",
                hint="round the outputs to a grid",
            )
        if self.curve is not None and (self.adc_offset or self.adc_gain):
            raise UsageError("chip: errors of columns with a converter curve; one of both was needed", hint="leave one")
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


def read_curve(path: Path | str) -> TableCurve:
    """Read a converter curve: {"thresholds": [n numbers], "levels": [n + 1 numbers]}, JSON, in cell steps.

    Raises:
        MissingError: there is no such file.
        MismatchError: it is not such a document.
        UsageError: the numbers make no curve.
    """
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
        thresholds, levels = (tuple(float(v) for v in document[key]) for key in ("thresholds", "levels"))
    except FileNotFoundError:
        raise MissingError(f"{path}: does not exist; a converter curve was needed", hint="--adc-curve FILE") from None
    except (OSError, ValueError, TypeError, KeyError) as failure:
        raise MismatchError(
            f"{path}: no converter curve ({failure!r}); thresholds and levels were needed",
            hint='{"thresholds": [1, 4, 9], "levels": [0, 2, 6, 12]}',
        ) from failure
    return TableCurve(thresholds, levels)


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
