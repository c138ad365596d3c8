"""The backward pass on a GPU: the kernels make and unmake the factors of matrix products, torch's library multiplies.

See csrc/kernels/adc/factors.h for the equations. How exact the products are is torch's own setting,
`torch.set_float32_matmul_precision`: "highest" computes in float32; below it gradients are rounded to bfloat16 before
they are multiplied by +-1 (or other small integers, exact in bfloat16) and added up in float32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_BUDGET = 1 << 30
"""Bytes that the factors of the arrays computed at a time may take."""

_MOST_SLICES = 64
"""Into how many products a long sum over pixels is cut: a GPU computes short ones side by side, a long one alone."""


def register() -> None:
    """Make this the backward pass of tensors on a GPU; called once, after the CUDA kernels are loaded."""
    torch.library.impl("bnnkit::adc_conv2d_backward", "CUDA", adc_conv2d_backward)


def adc_conv2d_backward(
    gy: Tensor,
    x_bits: Tensor,
    w_bits: Tensor,
    slopes: Tensor | None,
    x_unit: float,
    w_unit: float,
    x_thermometer: bool,
    w_thermometer: bool,
    channels: int,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    channels_per_array: int,
    tap: bool,
) -> list[Tensor]:
    """Return the gradients of activations, float32 [N, C, H, W], and weights, float32 [O, C / groups, kh, kw]."""
    bfloat16 = torch.get_float32_matmul_precision() != "highest"
    _, batch, height, width, _ = x_bits.shape
    outputs, taps = w_bits.shape[1], kernel[0] * kernel[1]
    chunks = -(-(channels // groups) // channels_per_array)
    arrays = taps * chunks if tap else chunks
    lines = 128 * -(-(channels_per_array * (1 if tap else taps)) // 128)
    gx = gy.new_zeros(batch, channels, height, width)
    gw = gy.new_empty(outputs, channels // groups, *kernel)
    pixels = batch * gy.shape[2] * gy.shape[3]
    if not pixels or not outputs:
        return [gx, gw.zero_()]
    # g, x and their product of one array; the product is always float32.
    per_array = pixels * (((outputs // groups) + lines) * (2 if bfloat16 else 4) + lines * 4) * groups
    at_once = max(1, min(arrays, _BUDGET // per_array))
    cut = (list(kernel), list(stride), list(padding), list(dilation), groups, channels_per_array, tap)
    for first in range(0, arrays, at_once):
        g, x, w = torch.ops.bnnkit.adc_gradient_factors(
            gy, x_bits, w_bits, slopes, x_thermometer, w_thermometer, channels, *cut, first,
            min(at_once, arrays - first), bfloat16,
        )  # fmt: skip
        torch.ops.bnnkit.adc_fold_gradients(_product(g, w), _sum_of_products(g, x), gx, gw, x_unit, w_unit, *cut, first)
    return [gx, gw]


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Return the batched product of two factors in float32."""
    if a.dtype == torch.float32:
        return torch.bmm(a, b)
    return torch.bmm(a, b, out_dtype=torch.float32) if a.is_cuda else torch.bmm(a.float(), b.float())


def _sum_of_products(g: Tensor, x: Tensor) -> Tensor:
    """Return g^T x for every array, float32 [B, outputs, lines]: slices of the pixels first, then their sum."""
    matrices, pixels, outputs = g.shape
    slices = math.gcd(pixels, _MOST_SLICES)
    parts = _product(
        g.view(matrices * slices, pixels // slices, outputs).mT, x.view(matrices * slices, pixels // slices, -1)
    )
    return parts.view(matrices, slices, outputs, -1).sum(1)
