"""The converter of an array: a curve, its integer form for the kernels, and its gradient."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from bnnkit.cim.curves import Curve, SenseAmplifier, TableCurve, UniformCurve
from bnnkit.errors import UsageError
from bnnkit.reference import with_slope

DEFAULT_SIGMA: dict[int, float] = {1: 6.0, 2: 5.0, 3: 4.0, 4: 2.5}
"""Published widths of the impulses (README of hpic-lab/BNN_IGA), in units of the partial sum, for 128 rows."""

AdcBits: TypeAlias = int | Literal["fp"]
AdcGradient: TypeAlias = Literal["iga", "ste"]


def parse_adc_bits(text: str | float) -> AdcBits:
    """Return 1, 2, 3, 4 or "fp" (no converter); 5 bits and more mean no converter.

    Raises:
        UsageError: for anything else.

    >>> parse_adc_bits("3"), parse_adc_bits(8), parse_adc_bits("fp")
    (3, 'fp', 'fp')
    """
    if str(text).lower() == "fp":
        return "fp"
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not (number >= 1 and number.is_integer()):
        raise UsageError(f"adc bits: '{text}' is not a converter width; 1, 2, 3, 4 or fp was needed", hint="use 1")
    return int(number) if number < 5 else "fp"


class Adc:
    """Convert the partial sums of one array.

        converted(ps) = offset + scale * levels[code(ps)]

    Args:
        bits: 1 (sense amplifier, 0 -> -rows) to 4 (uniform over -rows .. +rows).
        rows: word lines of the array, which is the full scale even where fewer rows are used.
        sigma: width of the impulse gradient in units of the partial sum; None takes `DEFAULT_SIGMA`.
        gradient: "iga" (impulses on the thresholds) or "ste" (1 everywhere inside the range).

    Attributes:
        levels: int32 [L], the integers the kernels add up.
        scale, offset: turn a level into a converted value, in units of the partial sum.

    Raises:
        UsageError: for other bit widths, no rows, a sigma that is not positive, an unknown gradient.

    Paper: BNN-IGA, impulse gradient approximation.

    >>> adc = Adc(2, 128)
    >>> adc.levels.tolist(), adc.thresholds(1).tolist()
    ([-3, -1, 1, 3], [-85, 0, 86])
    """

    def __init__(self, bits: int, rows: int = 128, sigma: float | None = None, gradient: AdcGradient = "iga") -> None:
        if bits not in DEFAULT_SIGMA:
            raise UsageError(f"adc: {bits} bits; 1, 2, 3 or 4 was needed", hint="leave the converter out with fp")
        curve = SenseAmplifier(1, rows) if bits == 1 else UniformCurve(bits, rows)
        self._setup(curve, rows, DEFAULT_SIGMA[bits] if sigma is None else sigma, gradient)

    @classmethod
    def from_table(
        cls,
        thresholds: Sequence[float],
        levels: Sequence[float],
        rows: int = 128,
        sigma: float = 6.0,
        gradient: AdcGradient = "iga",
    ) -> Adc:
        """Build a measured or non-uniform converter: ps >= thresholds[j] reads levels[j+1] (n and n+1 numbers).

        >>> Adc.from_table([-10, 0, 10], [-40, -5, 5, 40]).convert(torch.tensor([-11.0, -1.0, 10.0]))
        tensor([-40.,  -5.,  40.])
        """
        adc = cls.__new__(cls)
        curve = TableCurve(tuple(float(t) for t in thresholds), tuple(float(v) for v in levels))
        adc._setup(curve, rows, sigma, gradient)
        return adc

    @torch.inference_mode(False)
    def _setup(self, curve: Curve, rows: int, sigma: float, gradient: AdcGradient) -> None:
        if rows < 1:
            raise UsageError(f"adc: {rows} rows; at least 1 was needed", hint="use 128 rows")
        if not sigma > 0:
            raise UsageError(f"adc: sigma {sigma} is not positive", hint="leave sigma out for the default")
        if gradient not in ("iga", "ste"):
            raise UsageError(f"adc: gradient '{gradient}' is unknown; iga or ste was needed", hint="use iga")
        self.curve = curve
        self.rows = rows
        self.sigma = float(sigma)
        self.gradient: AdcGradient = gradient
        # On the CPU whatever the default device is: converters are shared between networks.
        self.levels: Tensor = torch.tensor(curve.levels, dtype=torch.int32, device="cpu")
        self.scale: float = curve.scale
        self.offset: float = curve.offset

    def thresholds(self, unit: int = 1, reach: int | None = None) -> Tensor:
        """Return int32 [L-1]: an integer partial sum n (= unit * ps) has code #{j : n >= thresholds[j]}.

        Found by evaluating the float32 curve on every integer in -reach*unit .. reach*unit, hence exact. A threshold
        that no partial sum reaches is reach*unit + 1. The tensor is cached: do not write to it.

        Args:
            unit: integer units per unit of the partial sum (product of the operands' units).
            reach: largest partial sum an array can have, that is, the rows in use; None: all rows.
        """
        return _integer_thresholds(self.curve, self.rows if reach is None else reach, unit)

    def gradient_table(
        self, unit: int = 1, reach: int | None = None, device: torch.device | Literal["cpu"] = "cpu"
    ) -> Tensor:
        """Return float32 [2*reach*unit + 1]: d converted / d ps at n = i - reach*unit (cached: do not write to it).

        `unit` and `reach` as in `thresholds`.
        """
        reached = self.rows if reach is None else reach
        table = _gradient_table(self.curve, reached, unit, self.rows, self.sigma, self.gradient)
        return table if torch.device(device).type == "cpu" else _copy_on(table, torch.device(device))

    def slope(self, ps: Tensor) -> Tensor:
        """Return d converted / d ps at each partial sum, float32."""
        return _slope(self.curve, ps, self.rows, self.sigma, self.gradient)

    def level(self, ps: Tensor) -> Tensor:
        """Return the integer level of each float partial sum (dtype of `ps`), with the gradient slope / scale."""
        levels = self.levels.to(ps.device)[self.curve.code(ps)].to(ps.dtype)
        slope = self.slope(ps.detach()).to(ps.dtype)
        return with_slope(ps, levels, slope / self.scale if self.scale else torch.zeros_like(slope))

    def convert(self, ps: Tensor) -> Tensor:
        """Convert float partial sums of any shape with the curve itself (differentiable): the reference."""
        # The product is formed in double, as the kernels' epilogue forms it, and rounded once.
        levels = self.levels.to(ps.device).double()[self.curve.code(ps)]
        return with_slope(ps, (self.offset + self.scale * levels).to(ps.dtype), self.slope(ps.detach()).to(ps.dtype))

    __call__ = convert

    def __repr__(self) -> str:
        return f"Adc({self.curve}, sigma={self.sigma:g}, gradient={self.gradient!r})"


def make_adc(
    bits: str | float, rows: int = 128, sigma: float | None = None, gradient: AdcGradient = "iga"
) -> Adc | None:
    """Build the converter of `bits` bits, or None for "fp" and for 5 bits and more (partial sums stay exact)."""
    width = parse_adc_bits(bits)
    return None if width == "fp" else Adc(width, rows, sigma, gradient)


def _every_partial_sum(reach: int, unit: int) -> Tensor:
    return torch.arange(-reach * unit, reach * unit + 1, device="cpu").float() / unit


def _slope(curve: Curve, ps: Tensor, rows: int, sigma: float, gradient: AdcGradient) -> Tensor:
    return curve.impulses(ps, sigma) if gradient == "iga" else (ps.abs() <= rows).float()


@cache
@torch.inference_mode(False)
def _copy_on(table: Tensor, device: torch.device) -> Tensor:
    # Tensors are keys by identity, and the tables are cached themselves: one copy per table and device.
    return table.to(device)


@cache
@torch.inference_mode(False)
def _integer_thresholds(curve: Curve, reach: int, unit: int) -> Tensor:
    codes = curve.code(_every_partial_sum(reach, unit))
    first = torch.searchsorted(codes, torch.arange(1, len(curve.levels), device="cpu"))
    return (first - reach * unit).int()


# Cached or shared, so never inference tensors: autograd could not use those later.
@cache
@torch.inference_mode(False)
def _gradient_table(curve: Curve, reach: int, unit: int, rows: int, sigma: float, gradient: AdcGradient) -> Tensor:
    return _slope(curve, _every_partial_sum(reach, unit), rows, sigma, gradient)
