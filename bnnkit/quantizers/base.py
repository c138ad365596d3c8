"""What every value quantizer offers, and the bit widths it may have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from bnnkit.errors import UsageError
from bnnkit.quantizers.gradients import GRADIENTS
from bnnkit.reference import with_slope

Bits: TypeAlias = float | Literal["fp"]
"""1, 1.5, 2, 3, 4 or "fp" (full precision)."""

Gradient: TypeAlias = str
"""Name in `bnnkit.quantizers.GRADIENTS`: ste, iga, clip, polynomial, sigmoid or ede."""

LOW_BITS: tuple[float, ...] = (1, 1.5, 2, 3, 4)


def parse_bits(text: str | float, allowed: Sequence[float] = LOW_BITS) -> Bits:
    """Return one of the `allowed` bit widths or "fp" for a number or what a person typed.

    Raises:
        UsageError: for anything else; what is computed in full precision is written "fp".

    >>> parse_bits("1.5"), parse_bits(2), parse_bits("fp")
    (1.5, 2, 'fp')
    """
    if str(text).lower() == "fp":
        return "fp"
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if number not in allowed:
        most = max(allowed)
        hint = (
            f"more than {most:g} bits are computed in full precision: write fp"
            if number > most
            else "write one of the values"
        )
        known = ", ".join(f"{bits:g}" for bits in allowed)
        raise UsageError(f"bits: '{text}' is not a bit width; one of {known}, fp was needed", hint=hint)
    return number if number == 1.5 else int(number)


FEW = 3
"""Thresholds up to which comparing with each is faster than searching among them."""


class Quantizer:
    """Map floats to `levels` integers `2*code - (levels-1)`, and give the map a gradient.

        code(x)    = #{j : x > t_j}  if strict else  #{j : x >= t_j}
        integer(x) = 2*code(x) - (levels - 1)            value(x) = integer(x) / unit

    Attributes:
        bits: 1, 1.5, 2, 3, 4 or "fp".
        planes: +-1 planes an integer is a sum of; 0 for full precision.
        thermometer: all planes have weight 1 (ternary); otherwise plane i has weight 2^i.
        unit: integer / unit = value.
        thresholds: ascending, each exactly a float32.
        strict: whether a value on a threshold stays below it.
        gradient: name of the estimator, see `bnnkit.quantizers.GRADIENTS`.
        sigma: width of the impulses of "iga" in units of the value.
        rule: of `bnnkit.reference.value_code`.
        reach: largest |x| through which "clip" lets gradients pass.
        progress: share of the training that is done, 0 to 1; "ede" sharpens with it.

    NaN compares false with every threshold and would become the lowest level; the packed operations refuse it.
    """

    bits: Bits
    planes: int
    thermometer: bool
    unit: int
    thresholds: tuple[float, ...]
    strict: bool
    rule: str = "floor"
    reach: float = 1.0
    progress: float = 0.0

    def __init__(self, gradient: Gradient = "ste", sigma: float | None = None) -> None:
        GRADIENTS.get(gradient)
        if sigma is not None and not sigma > 0:
            raise UsageError(f"value gradient: sigma {sigma} is not positive", hint="leave sigma out for the default")
        self.gradient: Gradient = gradient
        self.sigma = sigma

    @property
    def levels(self) -> int:
        """Number of values; 0 for full precision."""
        return len(self.thresholds) + 1 if self.planes else 0

    def code(self, x: Tensor) -> Tensor:
        """Return the level index 0 .. levels-1 of each element: int32, shape of `x`."""
        x = x.detach().float()
        if len(self.thresholds) <= FEW:
            passed = [(x >= t) if not self.strict else (x > t) for t in self.thresholds]
            return torch.stack(passed).sum(0, dtype=torch.int32) if len(passed) > 1 else passed[0].int()
        edges = torch.tensor(self.thresholds, dtype=torch.float32, device=x.device)
        codes: Tensor = torch.bucketize(x, edges, right=not self.strict, out_int32=True)
        return codes

    def integers(self, x: Tensor) -> Tensor:
        """Return `unit` times the quantized value: int32, shape of `x`."""
        return 2 * self.code(x) - (self.levels - 1)

    def slope(self, x: Tensor) -> Tensor | None:
        """Return dQ/dx as the backward pass uses it, or None where it is 1 everywhere."""
        return None if self.bits == "fp" else GRADIENTS.get(self.gradient)(x.detach(), self)

    def __call__(self, x: Tensor) -> Tensor:
        """Return the quantized values (float32, shape of `x`), differentiable."""
        slope = self.slope(x)
        value = self.integers(x).float() / self.unit
        return with_slope(x, value, torch.ones_like(x) if slope is None else slope)

    def carry(self, x: Tensor) -> Tensor:
        """Return `x` unchanged; gradients that flow back through the result are multiplied by dQ/dx.

        A fused operation quantizes inside its kernel and sends the gradient of the quantized value here.
        """
        slope = self.slope(x)
        return x if slope is None else with_slope(x, x, slope)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(bits={self.bits}, gradient={self.gradient!r}, sigma={self.sigma})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Quantizer):
            return NotImplemented
        mine, its = [(q.bits, q.gradient, q.sigma, q.reach) for q in (self, other)]
        return type(self) is type(other) and mine == its

    def __hash__(self) -> int:
        return hash((self.bits, self.gradient, self.sigma))
