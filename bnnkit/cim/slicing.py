"""Integer weights as conductance levels: which cells hold a weight, and what is taken from their column's sum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from bnnkit import reference
from bnnkit.errors import UsageError

Encoding: TypeAlias = Literal["offset", "differential", "twos"]


@dataclass(frozen=True)
class Slicing:
    """How signed integers of `w_bit` bits are spread over cells of `cell_bit` bits.

        w = sum over slices c of weight[c] * (plus[c] - minus[c])

    `plus` is the level of the weight's own cell; `minus` is the level of a second cell in the same row, whose column is
    subtracted before the converter:

    - "offset": u = w + 2^(w_bit-1) - 1 is stored; `minus` is a dummy column that holds the offset in every row.
    - "differential": the magnitude is stored in `plus` or, for negative weights, in `minus`.
    - "twos": two's complement; its sign bit has a slice of its own, of weight -2^(w_bit-1), and `minus` is empty.

    Slices go from least to most significant. When `cell_bit` does not divide the bits to be stored, the last slice is
    narrower and nothing is lost.

    Attributes:
        w_bit: bits of the signed weights, 2 to 8.
        cell_bit: bits of one cell, 1 to 4.

    Raises:
        UsageError: for other widths or an unknown encoding.

    Source: offset and dummy column as in DNN+NeuroSim (Peng et al., 2019).

    >>> plus, minus = Slicing(4, 1).cells(torch.tensor([0, 1]))
    >>> plus.tolist(), minus.tolist()
    ([[1, 0], [1, 0], [1, 0], [0, 1]], [[1, 1], [1, 1], [1, 1], [0, 0]])
    """

    w_bit: int
    cell_bit: int = 1
    encoding: Encoding = "offset"

    def __post_init__(self) -> None:
        if not 2 <= self.w_bit <= 8:
            raise UsageError(f"slicing: {self.w_bit}-bit weights; 2 to 8 bits were needed", hint="--w-bit 4")
        if not 1 <= self.cell_bit <= 4:
            raise UsageError(f"slicing: {self.cell_bit}-bit cells; 1 to 4 bits were needed", hint="--cell-bit 1")
        if self.encoding not in get_args(Encoding):
            known = ", ".join(get_args(Encoding))
            raise UsageError(f"slicing: encoding '{self.encoding}'; one of {known} was needed", hint="--encode offset")

    @property
    def offset(self) -> int:
        """What "offset" adds to a weight before it is stored; the other encodings add 0."""
        return (1 << (self.w_bit - 1)) - 1 if self.encoding == "offset" else 0

    @property
    def low(self) -> int:
        """The smallest weight that can be stored."""
        half = 1 << (self.w_bit - 1)
        return -half if self.encoding == "twos" else 1 - half

    @property
    def high(self) -> int:
        """The largest weight that can be stored."""
        half = 1 << (self.w_bit - 1)
        return half if self.encoding == "offset" else half - 1

    @property
    def widths(self) -> tuple[int, ...]:
        """Bits that each slice holds."""
        stored = self.w_bit if self.encoding == "offset" else self.w_bit - 1
        widths = [min(self.cell_bit, stored - first) for first in range(0, stored, self.cell_bit)]
        return (*widths, *([1] if self.encoding == "twos" else []))

    @property
    def slices(self) -> int:
        return len(self.widths)

    @property
    def weights(self) -> tuple[int, ...]:
        """What one level of each slice counts."""
        values = [2 ** (self.cell_bit * c) for c in range(self.slices)]
        return (*values[:-1], -(2 ** (self.w_bit - 1))) if self.encoding == "twos" else tuple(values)

    @property
    def columns(self) -> int:
        """Cells that hold one weight; a dummy column is shared by all weights of an array and not counted."""
        return 2 * self.slices if self.encoding == "differential" else self.slices

    def cells(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """Return the levels (plus, minus) of signed integer weights: two uint8 [slices, *w.shape].

        Raises:
            UsageError: a weight does not fit.
        """
        if w.numel() and not (self.low <= int(w.min()) and int(w.max()) <= self.high):
            raise UsageError(
                f"slicing: weights {int(w.min())} to {int(w.max())}; {self.low} to {self.high} fit "
                f"{self.w_bit} bits in encoding {self.encoding}",
                hint="give the right --w-bit",
            )
        w = w.long()
        if self.encoding == "offset":
            return self._sliced(w + self.offset), self._sliced(torch.full_like(w, self.offset))
        if self.encoding == "differential":
            return self._sliced(w.clamp(min=0)), self._sliced((-w).clamp(min=0))
        magnitude = reference.slice_weights(w % 2 ** (self.w_bit - 1), self.w_bit - 1, self.cell_bit)
        plus = torch.cat([magnitude, (w < 0).to(torch.uint8)[None]])
        return plus, torch.zeros_like(plus)

    def merge(self, plus: Tensor, minus: Tensor) -> Tensor:
        """Undo `cells`: int64 weights."""
        weights = torch.tensor(self.weights).view(-1, *[1] * (plus.dim() - 1))
        return (weights * (plus.long() - minus.long())).sum(0)

    def _sliced(self, w: Tensor) -> Tensor:
        return reference.slice_weights(w, sum(self.widths), self.cell_bit)
