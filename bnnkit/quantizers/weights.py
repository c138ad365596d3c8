"""Weights of 2 to 8 bits, scaled by what the tensor holds: DoReFa and SAWB."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from bnnkit.errors import UsageError
from bnnkit.reference import dorefa_code, sawb_range, with_slope
from bnnkit.registry import Registry

WEIGHT_QUANTS: Registry[type[WeightQuantizer]] = Registry("weight quantizer")


class WeightQuantizer:
    """Map a weight tensor to integers and back: value = integer / unit. Straight-through.

    Attributes:
        bits: 2 to 8.
        step: distance of neighbouring integers, 1 or 2.
    """

    step: ClassVar[int]

    def __init__(self, bits: int) -> None:
        if not 2 <= bits <= 8:
            raise UsageError(f"weights: {bits} bits; 2 to 8 were needed", hint="--w-bit 4")
        self.bits = bits

    def integers(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """Return the integers (float32, shape of `w`) and the unit (float32 scalar)."""
        raise NotImplementedError

    def slope(self, w: Tensor) -> Tensor:
        """Return d value / d w as the backward pass uses it."""
        return torch.ones_like(w)

    def __call__(self, w: Tensor) -> Tensor:
        """Return the quantized weights, differentiable."""
        with torch.no_grad():
            integers, unit = self.integers(w)
            value = integers / unit
        return with_slope(w, value, self.slope(w.detach()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.bits})"


@WEIGHT_QUANTS.register("sawb")
class Sawb(WeightQuantizer):
    """Statistics-aware weight binning: clip at alpha, then 2^bits - 1 levels, symmetric around 0.

        alpha = a * std(w) - b * mean|w|          integer = round(clip(w, -alpha, alpha) * (2^(bits-1) - 1) / alpha)

    Coefficients of 4 and 8 bits are the origin's, those of the other widths are fitted (`docs/rram.md`).

    Paper: Choi et al., "Accurate and Efficient 2-bit Quantized Neural Networks", SysML 2019.

    >>> Sawb(4).integers(torch.linspace(-1, 1, 5))[0].tolist()
    [-3.0, -1.0, 0.0, 1.0, 3.0]
    """

    step = 1

    def integers(self, w: Tensor) -> tuple[Tensor, Tensor]:
        alpha = sawb_range(w, self.bits)
        unit = (2 ** (self.bits - 1) - 1) / alpha
        return (torch.maximum(torch.minimum(w, alpha), -alpha) * unit).round(), unit


@WEIGHT_QUANTS.register("dorefa")
class DoReFa(WeightQuantizer):
    """Clip to [-1, 1], scale by the largest weight, 2^bits levels: odd integers over 2^bits - 1.

        code = round((2^bits - 1) * (w / (2 max|w|) + 1/2))          integer = 2 * code - (2^bits - 1)

    Paper: Zhou et al., "DoReFa-Net", 2016 (without its tanh, as in the origin).

    >>> DoReFa(2).integers(torch.tensor([-0.5, 0.0, 0.1, 0.5]))[0].tolist()
    [-3.0, 1.0, 1.0, 3.0]
    """

    step = 2

    def integers(self, w: Tensor) -> tuple[Tensor, Tensor]:
        top = 2**self.bits - 1
        return 2 * dorefa_code(w, self.bits) - top, torch.tensor(float(top), device=w.device)

    def slope(self, w: Tensor) -> Tensor:
        return (w.abs() <= 1).to(w.dtype) / w.clamp(-1, 1).abs().max()
