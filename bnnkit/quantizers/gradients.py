"""Gradient estimators: what stands in for the derivative of a staircase, by name.

A staircase is flat between its thresholds, so its derivative says nothing. Each estimator is a function
slope(x, quantizer) -> dQ/dx as the backward pass uses it, float32 of the shape of `x`, or None where it is 1
everywhere. The forward pass does not depend on it. Where a formula is written for sign(x), quantizers of several
levels take `x` as the distance from the nearest threshold in units of half a step, so that each threshold is a sign of
its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

from bnnkit.reference import VALUE_SIGMA
from bnnkit.reference import value_gradient as impulses
from bnnkit.registry import Registry

if TYPE_CHECKING:
    from bnnkit.quantizers.base import Quantizer

Estimator: TypeAlias = "Callable[[Tensor, Quantizer], Tensor | None]"

GRADIENTS: Registry[Estimator] = Registry("value gradient")


@GRADIENTS.register("ste")
def straight_through(x: Tensor, quantizer: Quantizer) -> None:
    """1 everywhere; put a Hardtanh in front. Paper: Bengio et al., "Estimating or propagating gradients", 2013."""


@GRADIENTS.register("iga")
def impulse(x: Tensor, quantizer: Quantizer) -> Tensor | None:
    """step * N(distance to the nearest threshold; sigma). Paper: BNN-IGA, impulse gradient approximation."""
    bits = quantizer.bits
    if bits == "fp":
        return None
    return impulses(x, bits, VALUE_SIGMA[bits] if quantizer.sigma is None else quantizer.sigma)


@GRADIENTS.register("clip")
def clip(x: Tensor, quantizer: Quantizer) -> Tensor:
    """1 where |x| <= `quantizer.reach`, else 0. Paper: Hubara et al., "Binarized Neural Networks", 2016."""
    return (x.abs() <= quantizer.reach).to(x.dtype)


@GRADIENTS.register("polynomial")
def polynomial(x: Tensor, quantizer: Quantizer) -> Tensor:
    """2 - 2|x| where |x| < 1, else 0: the derivative of a piecewise polynomial near sign(x).

    Paper: Liu et al., "Bi-Real Net", 2018 (ApproxSign).
    """
    return (2 - 2 * _half_steps(x, quantizer).abs()).clamp_min(0)


@GRADIENTS.register("sigmoid")
def sigmoid(x: Tensor, quantizer: Quantizer) -> Tensor:
    """2 * 3 * s * (1 - s) with s = sigmoid(3x): the derivative of 2 * sigmoid(3x) - 1. Paper: A&B BNN, CVPR 2024."""
    s = torch.sigmoid(3 * _half_steps(x, quantizer))
    return 6 * s * (1 - s)


@GRADIENTS.register("ede")
def error_decay(x: Tensor, quantizer: Quantizer) -> Tensor:
    """k * t * (1 - tanh(t * x)^2) with t from 0.1 to 10 as training proceeds and k = max(1 / t, 1).

    Begins as the identity, which moves every weight, and ends close to the derivative of sign(x).
    Paper: Qin et al., "Forward and backward information retention (IR-Net)", CVPR 2020.
    """
    t = 10 ** (2 * quantizer.progress - 1)
    return max(1 / t, 1.0) * t * (1 - torch.tanh(t * _half_steps(x, quantizer)) ** 2)


def _half_steps(x: Tensor, quantizer: Quantizer) -> Tensor:
    edges = quantizer.thresholds
    if edges == (0.0,):
        return x
    distance = x.unsqueeze(-1) - torch.tensor(edges, dtype=x.dtype, device=x.device)
    nearest = distance.abs().argmin(-1, keepdim=True)
    return distance.gather(-1, nearest).squeeze(-1) * quantizer.unit
