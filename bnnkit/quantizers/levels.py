"""The quantizers of BNN-IGA: binary, ternary, multi-level and full precision."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from torch import Tensor

from bnnkit.quantizers.base import Bits, Gradient, Quantizer, parse_bits
from bnnkit.reference import TERNARY_THRESHOLD, nearest_code, value_code
from bnnkit.registry import Registry

QUANTIZERS: Registry[type[Quantizer]] = Registry("quantizer")


@QUANTIZERS.register("binary")
class Binary(Quantizer):
    """+1 where x > 0, else -1 (so 0 becomes -1).

    Paper: Hubara et al., "Binarized Neural Networks", 2016; tie rule of hpic-lab/BNN_IGA.

    >>> Binary()(torch.tensor([-0.5, 0.0, 0.5]))
    tensor([-1., -1.,  1.])
    """

    bits: Bits = 1
    planes = 1
    thermometer = False
    unit = 1
    thresholds = (0.0,)
    strict = True


@QUANTIZERS.register("ternary")
class Ternary(Quantizer):
    """+1 where x >= 0.2, -1 where x <= -0.2, else 0: two planes of weight 1, integers -2, 0, 2 over 2.

    Paper: BNN-IGA; after Li et al., "Ternary Weight Networks", 2016.

    >>> Ternary()(torch.tensor([-0.2, 0.1, 0.2]))
    tensor([-1.,  0.,  1.])
    """

    bits: Bits = 1.5
    planes = 2
    thermometer = True
    unit = 2
    thresholds = (
        float(np.nextafter(np.float32(-TERNARY_THRESHOLD), np.float32(1))),
        float(np.float32(TERNARY_THRESHOLD)),
    )
    strict = False


@QUANTIZERS.register("multi-level")
class MultiLevel(Quantizer):
    """Q(x) = -1 + D*floor((x + D/2 + 1) / D), D = 2/(2^bits - 1): odd integers over 2^bits - 1.

    Paper: BNN-IGA. The thresholds are found by asking `reference.value_code` for every candidate float32.

    >>> MultiLevel(2)(torch.tensor([-1.0, -0.1, 0.9]))
    tensor([-1.0000, -0.3333,  1.0000])
    """

    thermometer = False
    strict = False

    def __init__(self, bits: int, gradient: Gradient = "ste", sigma: float | None = None) -> None:
        super().__init__(gradient, sigma)
        self.bits = bits
        self.planes = bits
        self.unit = 2**bits - 1
        self.thresholds = staircase_thresholds(bits)


@QUANTIZERS.register("sign")
class Sign(Binary):
    """+1 where x >= 0, else -1.

    Args:
        reach: of the gradient "clip".

    Papers: A&B BNN, 2024; FracBNN, 2021 (whose code leaves 0 as it is; trained floats do not hit it).

    >>> Sign()(torch.tensor([-0.5, 0.0, 0.5]))
    tensor([-1.,  1.,  1.])
    """

    strict = False
    rule = "nearest"

    def __init__(self, gradient: Gradient = "ste", sigma: float | None = None, reach: float = 1.0) -> None:
        super().__init__(gradient, sigma)
        self.reach = reach


@QUANTIZERS.register("nearest")
class Nearest(MultiLevel):
    """Q(x) = D * round((clip(x) + 1) / D) - 1, D = 2/(2^bits - 1), halves to even: FracBNN's activations.

    Paper: Zhang et al., "FracBNN", FPGA 2021.

    >>> Nearest(2)(torch.tensor([-0.7, 0.0, 0.7]))
    tensor([-1.0000,  0.3333,  1.0000])
    """

    rule = "nearest"
    reach = float(np.nextafter(np.float32(1), np.float32(0)))  # gradients pass inside (-1, 1)

    def __init__(self, bits: int, gradient: Gradient = "ste", sigma: float | None = None) -> None:
        super().__init__(bits, gradient, sigma)
        self.thresholds = nearest_thresholds(bits)


@QUANTIZERS.register("fp")
class FullPrecision(Quantizer):
    """The identity: the operand stays float32."""

    bits: Bits = "fp"
    planes = 0
    thermometer = False
    unit = 1
    thresholds = ()
    strict = False

    def __call__(self, x: Tensor) -> Tensor:
        """Return `x`."""
        return x


class Staircase(Quantizer):
    """Unsigned codes 0 .. 2^bits - 1 by any ascending thresholds: what the packing kernel needs to know."""

    thermometer = False
    strict = False
    unit = 1

    def __init__(self, bits: int, thresholds: tuple[float, ...]) -> None:
        super().__init__()
        self.bits = bits
        self.planes = bits
        self.thresholds = thresholds

    def integers(self, x: Tensor) -> Tensor:
        """Return the codes."""
        return self.code(x)


@cache
def staircase_thresholds(bits: int) -> tuple[float, ...]:
    """Return, for each code 1 .. 2^bits - 1, the smallest float32 in [-1, 1] that reaches it."""
    return first_reaching(lambda x, code: value_code(x, bits) >= code, 2**bits - 1, 1.0)


@cache
def nearest_thresholds(bits: int) -> tuple[float, ...]:
    """Return the same for `reference.nearest_code`."""
    return first_reaching(lambda x, code: nearest_code(x, bits) >= code, 2**bits - 1, 1.0)


def first_reaching(reaches: Callable[[Tensor, Tensor], Tensor], codes: int, most: float) -> tuple[float, ...]:
    """Return, for each code 1 .. `codes`, the smallest float32 in [-most, most] for which reaches(x, code).

    Bisects over float32 bit patterns in numerical order, so the thresholds reproduce the formula's rounding exactly.
    """
    want = torch.arange(1, codes + 1)
    low = torch.full_like(want, -_ordinal(most)) - 1
    high = torch.full_like(want, _ordinal(most))
    while bool((high - low > 1).any()):
        middle = (low + high) // 2
        reached = reaches(_from_ordinal(middle), want)
        high, low = torch.where(reached, middle, high), torch.where(reached, low, middle)
    return tuple(float(v) for v in _from_ordinal(high))


def _ordinal(x: float) -> int:
    """Return the rank of a positive float32 among float32 numbers counted from 0."""
    return int(np.float32(x).view(np.int32))


def _from_ordinal(rank: Tensor) -> Tensor:
    """Return the float32 numbers of the given signed ranks."""
    return torch.sign(rank) * rank.abs().int().view(torch.float32)


def make(bits: Bits | str, gradient: Gradient = "ste", sigma: float | None = None) -> Quantizer:
    """Build the quantizer of 1, 1.5, 2, 3, 4 or "fp" bits.

    Args:
        bits: a bit width, see `parse_bits`.
        gradient: "ste" passes gradients unchanged (put a Hardtanh in front); "iga" puts impulses on the thresholds.
        sigma: width of the impulses in units of the value; None: 0.05, and 0.02 for 1.5 bits.

    Raises:
        UsageError: for another bit width, gradient or a sigma that is not positive.

    >>> make(3).unit, make("fp").planes
    (7, 0)
    """
    width = parse_bits(bits)
    if width == 1:
        return Binary(gradient, sigma)
    if width == 1.5:
        return Ternary(gradient, sigma)
    if width == "fp":
        return FullPrecision(gradient, sigma)
    return MultiLevel(int(width), gradient, sigma)
