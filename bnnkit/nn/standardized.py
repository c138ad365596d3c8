"""Weights that are standardized before they are quantized."""

from __future__ import annotations

import torch
from torch import Tensor

from bnnkit.quantizers import Quantizer

EPSILON = 1e-5


def standardize(weight: Tensor) -> Tensor:
    """Return (w - mean) / (std + 1e-5) / sqrt(fan_in) per output, std over the population, differentiable.

    Paper: Brock et al., "Characterizing signal propagation to close the performance gap in unnormalized ResNets", 2021.

    >>> standardize(torch.tensor([[[[1.0]], [[3.0]]]])).flatten()
    tensor([-0.7071,  0.7071])
    """
    dims = list(range(1, weight.dim()))
    std, mean = torch.std_mean(weight, dim=dims, keepdim=True, correction=0)
    fan_in = weight[0].numel()
    result: Tensor = fan_in**-0.5 * (weight - mean) / (std + EPSILON)
    return result


class Standardized(Quantizer):
    """Standardize weights [outputs, ...] per output, then quantize them with another quantizer.

        Q(w) = base((w - mean) / (std + 1e-5) / sqrt(n)),    n weights per output

    Gradients pass through mean and standard deviation. It is computed in double and rounded once, so that training,
    evaluation and packing see the same signs. Signs are left as they are by it: a network that was read from a packed
    file, whose weights are signs, computes the same numbers.

    Args:
        base: of the standardized weights, which layers hand to the kernels with it.

    Paper: Qiao et al., "Micro-batch training with batch-channel normalization and weight standardization", 2019.

    >>> from bnnkit.quantizers import make
    >>> Standardized(make(1))(torch.tensor([[1.0, 2.0, 6.0]]))
    tensor([[-1., -1.,  1.]])
    """

    def __init__(self, base: Quantizer) -> None:
        super().__init__(base.gradient, base.sigma)
        self.base = base
        self.bits, self.planes, self.thermometer, self.unit = base.bits, base.planes, base.thermometer, base.unit
        self.thresholds, self.strict, self.rule, self.reach = base.thresholds, base.strict, base.rule, base.reach

    def standardize(self, weight: Tensor) -> Tensor:
        """Return standardized weights, float32 of the shape of `weight`, differentiable."""
        return standardize(weight.double()).float()

    def code(self, x: Tensor) -> Tensor:
        """Return the codes of the standardized weights."""
        return self.base.code(self.standardize(x.detach()))

    def slope(self, x: Tensor) -> Tensor | None:
        """Return the slope of the base at the standardized weights; the derivative of the rest is no number each."""
        return self.base.slope(self.standardize(x.detach()))

    def __call__(self, x: Tensor) -> Tensor:
        """Return the quantized standardized weights, differentiable."""
        return self.base(self.standardize(x))

    def carry(self, x: Tensor) -> Tensor:
        """Return the standardized weights; gradients are those of the whole."""
        return self.base.carry(self.standardize(x))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base!r})"

    def __eq__(self, other: object) -> bool:
        return self.base == other.base if isinstance(other, Standardized) else NotImplemented

    def __hash__(self) -> int:
        return hash((type(self), self.base))
