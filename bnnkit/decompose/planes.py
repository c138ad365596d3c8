"""One layer's integer weights cut into planes of cells, and put together again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bnnkit import ops
from bnnkit.cim import Array, Mapping
from bnnkit.cim.slicing import Encoding, Slicing
from bnnkit.decompose.arrays import Placement, place
from bnnkit.decompose.source import Weight
from bnnkit.errors import GateError, MismatchError, UsageError

DEFAULT_BITS = 4
DEFAULT_ENCODING: Encoding = "offset"
MOST_BITS, MOST_CELL_BITS = 16, 8


@dataclass(frozen=True)
class Unsigned:
    """How codes 0 .. 2^w_bit - 1 are spread over cells: as they are.

        slice[c] = (w >> (cell_bit * c)) & (2^cell_bit - 1)

    It offers what `bnnkit.cim.slicing.Slicing` offers for signed weights; `minus` is always empty.

    Raises:
        UsageError: for impossible widths.

    >>> plus, _ = Unsigned(4, 1).cells(torch.tensor([7, 8]))
    >>> plus[:, 0].tolist(), plus[:, 1].tolist()
    ([1, 1, 1, 0], [0, 0, 0, 1])
    >>> Unsigned(4, 1).cells(torch.zeros(128, 128, 3, 3, dtype=torch.int32))[0].shape
    torch.Size([4, 128, 128, 3, 3])
    """

    w_bit: int
    cell_bit: int = 1

    encoding: Literal["unsigned"] = "unsigned"
    offset: Literal[0] = 0

    def __post_init__(self) -> None:
        if not 1 <= self.w_bit <= MOST_BITS:
            raise UsageError(f"{self.w_bit}-bit codes; 1 to {MOST_BITS} bits were needed", hint="--w-bit 4")
        if not 1 <= self.cell_bit <= MOST_CELL_BITS:
            raise UsageError(f"{self.cell_bit}-bit cells; 1 to {MOST_CELL_BITS} bits were needed", hint="--cell-bit 1")

    @property
    def widths(self) -> tuple[int, ...]:
        """Bits that each slice holds."""
        return tuple(min(self.cell_bit, self.w_bit - first) for first in range(0, self.w_bit, self.cell_bit))

    @property
    def slices(self) -> int:
        return len(self.widths)

    @property
    def weights(self) -> tuple[int, ...]:
        """What one level of each slice counts."""
        return tuple(2 ** (self.cell_bit * c) for c in range(self.slices))

    @property
    def columns(self) -> int:
        """Cells that hold one weight."""
        return self.slices

    def cells(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """Return the levels of integer codes, uint8 [slices, *w.shape], and as many zeros.

        Raises:
            UsageError: a code does not fit.
        """
        low, high = int(w.min()), int(w.max())
        if low < 0 or high >= 2**self.w_bit:
            needed = f"--w-bit {high.bit_length()}" if low >= 0 else "--encode offset"
            raise UsageError(
                f"codes {low} to {high}; 0 to {2**self.w_bit - 1} fit {self.w_bit} bits", hint=f"give {needed}"
            )
        plus = ops.slice_weights(w, self.w_bit, self.cell_bit)
        return plus, torch.zeros((), dtype=torch.uint8).expand_as(plus)

    def merge(self, plus: Tensor, minus: Tensor) -> Tensor:
        """Undo `cells`: int32 codes."""
        return ops.merge_slices(plus, self.cell_bit)


@dataclass(frozen=True)
class Settings:
    """What a person may choose; None leaves the choice to the weight: its own bits, encoding and array.

    Attributes:
        w_bit: bits of the weights; 4 where neither a person nor a network says.
        cell_bit: bits of one cell.
        encode: treats weights as signed even if none is negative.
        rows, mapping: the array's word lines, and what shares them; 128 and "tap" where no network says.
        cols: bit lines of the array.
    """

    w_bit: int | None = None
    cell_bit: int = 1
    encode: Encoding | None = None
    rows: int | None = None
    cols: int = 128
    mapping: Mapping | None = None

    def scheme(self, weight: Weight) -> Slicing | Unsigned:
        """Return how `weight` is spread over cells.

        Raises:
            UsageError: impossible widths.
            MismatchError: the width differs from that of the network's layer.
        """
        if None not in (weight.w_bit, self.w_bit) and weight.w_bit != self.w_bit:
            raise MismatchError(
                f"weights of {weight.w_bit} bits; --w-bit asks for {self.w_bit}", hint="leave --w-bit out"
            )
        bits = weight.w_bit or (DEFAULT_BITS if self.w_bit is None else self.w_bit)
        signed = weight.signed
        if signed is None:
            signed = self.encode is not None or int(weight.values.min()) < 0
        if not signed:
            return Unsigned(bits, self.cell_bit)
        return Slicing(bits, self.cell_bit, self.encode or DEFAULT_ENCODING)

    def array(self, weight: Weight) -> Array:
        """Return the array that holds `weight`."""
        trained = weight.array or Array(128, "tap")
        mapping = self.mapping or trained.mapping
        kept = trained.channels_per_array if mapping == "channel" else None
        return Array(trained.rows if self.rows is None else self.rows, mapping, kept)


@dataclass(frozen=True)
class Decomposition:
    """The planes of one layer.

        weight.values = sum over slices c of scheme.weights[c] * (plus[c] - minus[c])

    Attributes:
        plus, minus: uint8 [slices, *weight.values.shape], least significant slice first.
    """

    weight: Weight
    scheme: Slicing | Unsigned
    placement: Placement
    plus: Tensor
    minus: Tensor

    @property
    def name(self) -> str:
        return self.weight.name

    @property
    def differential(self) -> bool:
        return self.scheme.encoding == "differential"


def decompose(weight: Weight, settings: Settings | None = None) -> Decomposition:
    """Cut the weights of one layer into planes and place them on arrays.

    Raises:
        UsageError: a weight does not fit its bits, the widths are impossible, or the arrays too small.
        MismatchError: the settings contradict the network.

    >>> planes = decompose(Weight("w", torch.tensor([[7, 8]])), Settings(w_bit=4, cell_bit=3))
    >>> planes.plus.tolist()
    [[[7, 0]], [[0, 1]]]
    >>> verify(planes)
    """
    settings = settings or Settings()
    with _named(weight.name):
        scheme = settings.scheme(weight)
        plus, minus = scheme.cells(weight.values)
        placement = place(
            weight.values.shape,
            settings.array(weight),
            cols=settings.cols,
            columns=scheme.columns,
            dummies=scheme.slices if scheme.encoding == "offset" else 0,
            slices=scheme.slices,
            groups=weight.groups,
        )
    return Decomposition(weight, scheme, placement, plus, minus)


def verify(planes: Decomposition) -> None:
    """Put the planes together again and compare with the weights.

    Raises:
        GateError: they differ; the first difference is named.
    """
    merged, values = planes.scheme.merge(planes.plus, planes.minus), planes.weight.values
    wrong = merged != values
    if wrong.any():
        index = tuple(int(i) for i in wrong.nonzero()[0])
        raise GateError(
            f"{planes.name}: {int(wrong.sum()):,} of {wrong.numel():,} weights differ when their planes are merged: "
            f"{list(index)} is {int(merged[index])} instead of {int(values[index])}",
            hint="bnnkit doctor",
        )


@contextmanager
def _named(name: str) -> Iterator[None]:
    try:
        yield
    except (UsageError, MismatchError) as failure:
        raise type(failure)(f"{name}: {failure.message}", hint=failure.hint) from failure
