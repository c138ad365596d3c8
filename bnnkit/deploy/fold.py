"""Normalization, Hardtanh and quantization after a sum of integers, folded into thresholds on the sum."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bnnkit.cim import Layout
from bnnkit.deploy.geometry import ArrayLayer
from bnnkit.nn.evaluation import normalize
from bnnkit.nn.gated import excess_over
from bnnkit.quantizers import Quantizer


class Sums:
    """How the integer sums of an array layer become values: scale * sum + base + bias, in double, rounded once."""

    def __init__(self, scale: float, base: float, bias: Tensor | None, bound: int) -> None:
        self.scale = scale
        self.base = base
        self.bias = bias
        self.bound = bound  # largest magnitude of a sum

    def values(self, sums: Tensor) -> Tensor:
        """Return the float32 values of integer sums [..., C]."""
        value = self.scale * sums.double() + self.base
        return (value if self.bias is None else value + self.bias.double()).float()


def sums_of(layer: ArrayLayer, layout: Layout, bias: Tensor | None) -> Sums:
    """Return what the integer sums of a layer on arrays stand for."""
    adc = layer.adc
    if adc is None:
        return Sums(1 / layer.unit, 0.0, bias, layout.channels * layout.kernel_h * layout.kernel_w)
    largest = int(adc.levels.abs().max())
    return Sums(adc.scale, adc.offset * layout.arrays, bias, largest * layout.arrays)


def sum_thresholds(sums: Sums, scale: Tensor, shift: Tensor, quantizer: Quantizer) -> tuple[Tensor, Tensor]:
    """Return thresholds int32 [levels - 1, C] and directions int32 [C] (1 or -1) such that, for every possible sum,

        quantizer.code(hardtanh(scale * value(sum) + shift)) = #{t : direction * sum >= threshold[t]}

    The right side is found by asking the left one: every rounding on the way is monotone, so each threshold is where a
    bisection over the sums ends, and nothing is assumed about how floats round. A threshold that no sum reaches is one
    more than the largest sum.

    >>> from bnnkit.quantizers import make
    >>> exact = Sums(1.0, 0.0, None, 100)
    >>> sum_thresholds(exact, torch.tensor([1.0, -1.0]), torch.tensor([-5.0, -5.0]), make(1))
    (tensor([[6, 6]], dtype=torch.int32), tensor([ 1, -1], dtype=torch.int32))
    """
    direction = torch.where(scale < 0, -1, 1)
    codes = torch.arange(1, quantizer.levels)[:, None]
    shape = (len(codes), len(scale))

    def passes(directed: Tensor) -> Tensor:
        value = torch.nn.functional.hardtanh(normalize(sums.values(direction * directed), scale, shift))
        return quantizer.code(value) >= codes

    return smallest(passes, shape, sums.bound).int(), direction.int()


def gates_open(high: Tensor, threshold: Tensor) -> Tensor:
    """Return 1 where precision gates open at these values of their high bits, else 0: float32."""
    return (excess_over(high, threshold) > 0).float()


def gate_thresholds(sums: Sums, gate: Callable[[Tensor], Tensor], channels: int) -> Tensor:
    """Return int32 [channels]: the smallest sum of high bits for which a precision gate opens.

    Found by asking the gate, which is monotone; one more than the largest sum where it never opens.

    Args:
        gate: float32 values [1, channels, 1, 1] -> not 0 where the gate is open.

    >>> exact = Sums(1.0, 0.0, None, 100)
    >>> gate_thresholds(exact, lambda high: (high * 2 / 3 - torch.tensor([-1.0, 90.0]).view(1, 2, 1, 1) > 0).float(), 2)
    tensor([ -1, 101], dtype=torch.int32)
    """
    return smallest(lambda high: gate(sums.values(high)) != 0, (1, channels, 1, 1), sums.bound).int().flatten()


def smallest(passes: Callable[[Tensor], Tensor], shape: tuple[int, ...], bound: int) -> Tensor:
    """Return, int64 of `shape`, the smallest integers that pass, by bisection from -bound to bound; else bound + 1."""
    below, reached = torch.full(shape, -bound - 1), torch.full(shape, bound + 1)
    while bool((reached - below > 1).any()):
        middle = (below + reached) // 2
        found = passes(middle)
        reached, below = torch.where(found, middle, reached), torch.where(found, below, middle)
    return reached
