"""The field's usual formulation of a CIM layer: one torch convolution and one quantization per array."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from bnnkit.cim import Adc, Layout
from bnnkit.quantizers import Quantizer
from bnnkit.reference import with_slope


def array_loop(
    x: Tensor,
    w: Tensor,
    bias: Tensor | None,
    *,
    a: Quantizer,
    w_quantizer: Quantizer,
    adc: Adc,
    layout: Layout,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> Tensor:
    """Convolve one array at a time in float32, convert each partial sum, and add: [N, M, H', W'] float32.

    Operands are convolved as integers (exact in float32 up to 2^24), so every partial sum is the one the packed
    kernels compute; memory grows with the number of arrays, which is what the kernels avoid.
    """
    unit = a.unit * w_quantizer.unit
    x_int = as_integers(x, a).reshape(len(x), groups, layout.channels, *x.shape[2:])
    w_int = as_integers(w, w_quantizer)
    total: Tensor | None = None
    for s in range(layout.arrays):
        held = layout.channels_of(s)
        channels = slice(held.start, held.stop)
        kernel = w_int[:, channels]
        if layout.tap:
            kernel = kernel * _one_tap(kernel, s // layout.chunks)
        inputs = x_int[:, :, channels].flatten(1, 2)
        ps = F.conv2d(inputs, kernel, None, stride, padding, dilation, groups) / unit
        level = adc.level(ps.double())
        total = level if total is None else total + level
    assert total is not None
    total = adc.scale * total + adc.offset * layout.arrays
    if bias is not None:
        total = total + bias.double().view(1, -1, 1, 1)
    return total.float()


def as_integers(x: Tensor, quantizer: Quantizer) -> Tensor:
    """Return unit * Q(x) as float32 with the gradient unit * dQ/dx."""
    slope = quantizer.slope(x)
    scale = x.new_full((), quantizer.unit) if slope is None else slope * quantizer.unit
    return with_slope(x, quantizer.integers(x).float(), scale)


def _one_tap(kernel: Tensor, tap: int) -> Tensor:
    mask = kernel.new_zeros(kernel.shape[2] * kernel.shape[3])
    mask[tap] = 1
    return mask.view(kernel.shape[2:])
