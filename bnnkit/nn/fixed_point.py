"""Numbers as integers, and constant factors as a few shifts and additions: arithmetic without multiplications."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

DIGITS = 4
"""Powers of two a factor is the sum of. Each leaves at most a third of what was left: 1.3 % at worst, usually 0.1 %."""

WIDEST = 28
"""Values stay below 2^28, so that four of them can be added in 32 bits, and rounding down has room."""

MOST_FRACTION_BITS = 24


@dataclass(frozen=True)
class ShiftAdd:
    """Multiply integers by a constant per channel: sum over digits d of signs[d] * ((x << lift) >> shifts[d]).

    Shifts to the right round down.

    Attributes:
        shifts: int32 [DIGITS, C], 0 to 31.
        signs: int32 [DIGITS, C]; 1, -1, or 0 for a digit that is not used.
        lift: the same for all channels.
    """

    shifts: Tensor
    signs: Tensor
    lift: int

    @classmethod
    def of(cls, factors: Tensor, largest: float) -> ShiftAdd:
        """Approximate `factors`, float64 [C], for integers of magnitude up to `largest` (less than 2^31).

        The digits are taken greedily, each the power of two nearest to what is left, as long as it matters.

        >>> factor = ShiftAdd.of(torch.tensor([0.75]), 100)
        >>> factor(torch.tensor([[100]]))
        tensor([[75]])
        """
        lift = max(0, 30 - math.frexp(max(largest, 1))[1])
        left = factors.double().numpy().copy()
        shifts, signs = np.zeros((DIGITS, len(left)), np.int32), np.zeros((DIGITS, len(left)), np.int32)
        for d in range(DIGITS):
            mantissa, exponent = np.frexp(np.abs(left))
            power = np.where(mantissa >= 0.75, exponent, exponent - 1)
            used = (left != 0) & (lift - power <= 31) & (largest * np.exp2(power.astype(float)) >= 0.5)
            shifts[d] = np.where(used, lift - power, 0)
            signs[d] = np.where(used, np.sign(left), 0)
            left -= signs[d] * np.exp2(power.astype(float))
        assert shifts.min() >= 0, "a factor makes values wider than WIDEST"
        return cls(torch.from_numpy(shifts), torch.from_numpy(signs), lift)

    def __call__(self, x: Tensor) -> Tensor:
        """Return the products of integers `x`, int64 [N, C, ...], rounded as above."""
        shape = (1, -1) + (1,) * (x.dim() - 2)
        lifted, total = x << self.lift, torch.zeros_like(x)
        for shift, sign in zip(self.shifts.long(), self.signs.long(), strict=True):
            total += sign.view(shape) * (lifted >> shift.view(shape))
        return total

    def arguments(self) -> dict[str, Any]:
        """Return what a packed network needs to do the same."""
        return {"lift": self.lift, "shifts": self.shifts.numpy(), "signs": self.signs.numpy()}


@dataclass(frozen=True)
class IntegerActivation:
    """`ShiftRPReLU` on integers: add, shift where negative, add; all int32 [C]."""

    bias_in: Tensor
    right: Tensor
    left: Tensor
    bias_out: Tensor

    @classmethod
    def of(cls, bias_in: Tensor, log2_slope: Tensor, bias_out: Tensor, fraction_bits: int) -> IntegerActivation:
        """Round the parameters of a `ShiftRPReLU` to `fraction_bits`; slopes are already powers of two."""
        exponent = log2_slope.round().clamp(-31, 31).int()
        return cls(
            to_integers(bias_in, fraction_bits),
            (-exponent).clamp_min(0),
            exponent.clamp_min(0),
            to_integers(bias_out, fraction_bits),
        )

    def __call__(self, x: Tensor) -> Tensor:
        """Return the activation of integers, int64 [N, C, H, W]."""
        bias_in, right, left, bias_out = (
            p.long().view(1, -1, 1, 1) for p in (self.bias_in, self.right, self.left, self.bias_out)
        )
        x = x + bias_in
        return torch.where(x < 0, (x >> right) << left, x) + bias_out

    def arguments(self) -> dict[str, Any]:
        """Return what a packed network needs to do the same."""
        return {part: getattr(self, part).numpy() for part in ("bias_in", "right", "left", "bias_out")}


def to_integers(values: Tensor, fraction_bits: int) -> Tensor:
    """Return values in units of 2^-fraction_bits, rounded to the nearest (halves to even): int32.

    >>> to_integers(torch.tensor([0.5, 0.375]), 2)
    tensor([2, 2], dtype=torch.int32)
    """
    scaled = (values.double() * 2.0**fraction_bits).round()
    return scaled.clamp(-(2**31), 2**31 - 1).int()


def fraction_bits_for(largest: float) -> int:
    """Return the bits after the point with which magnitudes up to `largest` stay below 2^WIDEST.

    >>> fraction_bits_for(100.0)
    21
    """
    return min(MOST_FRACTION_BITS, WIDEST - math.frexp(largest)[1])
