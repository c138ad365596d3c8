"""Activations of a few bits with a learned range."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from bnnkit.errors import UsageError
from bnnkit.quantizers.levels import Staircase, first_reaching
from bnnkit.reference import pact_code

INITIAL_RANGE = 10.0


class _Pact(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: Tensor, bits: int, alpha_gain: float) -> Tensor:
        ctx.save_for_backward(x, alpha)
        ctx.alpha_gain = alpha_gain
        value: Tensor = pact_code(x, alpha, bits) / ((2**bits - 1) / alpha)
        return value

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        x, alpha = ctx.saved_tensors
        gradient, above = grad_outputs[0], x >= alpha
        inside = (x >= 0) & ~above
        return gradient * inside, ctx.alpha_gain * (gradient * above).sum(), None, None


class Pact(nn.Module):
    """Clip to a learned range and round: 2^bits levels from 0 to alpha.

        code(x) = round(min(max(x, 0), alpha) * (2^bits - 1) / alpha)        value = code * alpha / (2^bits - 1)
        d value / dx = 1 inside the range, else 0            d value / d alpha = 1 where x >= alpha, else 0

    The penalty on alpha is the optimizer's weight decay.

    Args:
        bits: 2 to 8.
        origin_gradient: double the gradient of alpha, as the origin's code does: it reaches alpha through the clipping
            as well as through the rounding.

    Attributes:
        alpha: float32 scalar parameter, the range.

    Raises:
        UsageError: for other bit widths.

    Paper: Choi et al., "PACT: Parameterized Clipping Activation for Quantized Neural Networks", 2018.

    >>> Pact(2)(torch.tensor([-1.0, 4.0, 20.0])).tolist()
    [0.0, 3.3333332538604736, 10.0]
    """

    def __init__(self, bits: int, *, origin_gradient: bool = False) -> None:
        super().__init__()
        if not 2 <= bits <= 8:
            raise UsageError(f"activations: {bits} bits; 2 to 8 were needed", hint="--ao-bit 4")
        self.bits = bits
        self.alpha = nn.Parameter(torch.tensor(INITIAL_RANGE))
        self._alpha_gain = 2.0 if origin_gradient else 1.0

    def forward(self, x: Tensor) -> Tensor:
        """Return the quantized values, differentiable in `x` and alpha."""
        return cast(Tensor, _Pact.apply(x, self.alpha, self.bits, self._alpha_gain))  # type: ignore[no-untyped-call]

    def code(self, x: Tensor) -> Tensor:
        """Return the codes 0 .. 2^bits - 1 as float32, shape of `x`."""
        return pact_code(x.detach(), self.alpha.detach(), self.bits)

    def levels(self) -> Staircase:
        """Return the codes as thresholds on float32 inputs, found with `pact_code` itself and hence exact."""
        alpha = self.alpha.detach().cpu()

        def reaches(x: Tensor, code: Tensor) -> Tensor:
            return pact_code(x, alpha, self.bits) >= code

        return Staircase(self.bits, first_reaching(reaches, 2**self.bits - 1, float(alpha)))

    @property
    def unit(self) -> Tensor:
        """Codes per unit of the value, a float32 scalar."""
        unit: Tensor = (2**self.bits - 1) / self.alpha.detach()
        return unit

    def extra_repr(self) -> str:
        return f"bits={self.bits}"
