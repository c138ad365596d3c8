"""FracBNN's precision-gated convolution: the low bit of an activation counts only where the high bit alone says so."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bnnkit.nn.conv import CimConv2d
from bnnkit.nn.operands import Pair
from bnnkit.quantizers import Bits, Nearest, Sign
from bnnkit.quantizers.base import Gradient
from bnnkit.reference import with_slope

WEIGHT_REACH = 1.3
"""|latent weight| up to which gradients pass."""


class GatedConv2d(CimConv2d):
    """Convolve 2-bit activations (2 * high + low) / 3 with binary weights, the low bits only where a gate opens:

        high, low = conv(high bits, sign(w)), conv(low bits, sign(w))
        y = (2 * high + open * low) / 3,      open = (2/3) * high > threshold

    Gradients: activations pass inside (-1, 1), weights inside +-1.3, and the gate's is 5 * s * (1 - s) where it is
    open, s = sigmoid(5 * (2/3 * high - threshold)).

    On arrays the two planes are converted one after the other, as a chip would: first the high bits, and the low bits
    where they are wanted.

    Args:
        in_channels, out_channels, kernel_size, stride, padding: as `torch.nn.Conv2d`, without bias.
        w_bit: 1, or "fp" for the first step of training.
        value_gradient: of the activations.
        options: of `CimConv2d`, except `ao_bit`.

    Attributes:
        threshold: float32 [out_channels], learned, initially -1.
        fraction: quantizer of the activations.
        open, outputs: counted in evaluation mode, see `bnnkit.nn.take_gates`.

    Shape: [N, in_channels, H, W] float32 -> [N, out_channels, H', W'] float32.

    Paper: Zhang et al., "FracBNN", FPGA 2021 (origin cornell-zhang/FracBNN, PGBinaryConv2d).

    >>> GatedConv2d(16, 8, 3, padding=1, w_bit=1, adc_bit="fp")(torch.zeros(1, 16, 4, 4)).shape
    torch.Size([1, 8, 4, 4])
    """

    clamps_latent = False
    perturbable = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        *,
        w_bit: Bits,
        value_gradient: Gradient = "clip",
        **options: Any,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, bias=False, ao_bit=1, w_bit=w_bit, **options
        )
        self.fraction = Nearest(2, value_gradient)
        self.activation = Sign()  # of one plane, whose values are +-1 already
        if w_bit == 1:
            self.weight_quantizer = Sign("clip", reach=WEIGHT_REACH)
        self.threshold = nn.Parameter(torch.full((out_channels,), -1.0))
        self.open = self.outputs = 0

    @property
    def ao_bit(self) -> Bits:
        return self.fraction.bits

    def forward(self, x: Tensor) -> Tensor:
        """Return the gated convolution of `x`."""
        value = self.fraction(x)
        high_bits = self.activation(value)
        low_bits = 3 * value - 2 * high_bits
        if not self.training and self.weight_quantizer.planes:
            return self._by_sums(high_bits, low_bits.round())  # 3 * (1/3) may miss 1 by a bit
        high, low = self.convolve(high_bits, self.weight), self.convolve(low_bits, self.weight)
        opens = self.gate(high)
        self._count(opens)
        return (2 * high + opens * low) / 3

    def _by_sums(self, high_bits: Tensor, low_bits: Tensor) -> Tensor:
        """Return the same in evaluation: integers, scaled in double and rounded once."""
        (high, unit, offset), (low, _, _) = (self.sums(bits, self.weight) for bits in (high_bits, low_bits))
        opens = self.gate((unit * high.double() + offset).float())
        self._count(opens)
        gated = (2 * high + opens.long() * low).double() * (unit / 3)
        return (gated + (2 + opens) * (offset / 3)).float() if offset else gated.float()

    def _count(self, opens: Tensor) -> None:
        if not self.training:
            self.open += int(opens.sum())
            self.outputs += opens.numel()

    def gate(self, high: Tensor) -> Tensor:
        """Return 1 where the low bits count, else 0, of the sums `high` of high bits, [N, C, H, W], differentiable."""
        excess = excess_over(high, self.threshold)
        s = torch.sigmoid(5 * excess.detach())
        return with_slope(excess, (excess > 0).float(), 5 * s * (1 - s) * (excess >= 0))


def excess_over(high: Tensor, threshold: Tensor) -> Tensor:
    """Return 2/3 of the sums of high bits, float32 [N, C, H, W], minus the threshold [C]; the gate opens above 0."""
    return high * 2 / 3 - threshold.view(1, -1, 1, 1)
