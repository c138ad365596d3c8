"""Products of packed operands, without the packing around them."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor

from bnnkit import ops
from bnnkit.cim import Adc, Array, Layout
from bnnkit.quantizers import make

Operands: TypeAlias = tuple[Tensor, Tensor]
"""Packed activations [1, M, 1, 1, bytes] and packed weights [1, N, bytes]."""

_ONE_PIXEL = ([1, 1], [1, 1], [0, 0], [1, 1], 1)
_SIGN = make(1)


def whole(k: int) -> Layout:
    """Return the layout of `k` inputs that are not cut."""
    return Layout(k, 1, 1, k, k, False)


def pack_activations(x: Tensor, layout: Layout) -> Tensor:
    """Pack the signs of `x` float32 [M, K]."""
    return ops.pack_pixels(x[:, :, None, None], _SIGN, channels_per_array=layout.channels_per_array)


def pack_weights(w: Tensor, layout: Layout) -> Tensor:
    """Pack the signs of `w` float32 [N, K]."""
    return ops.pack_kernels(w[:, :, None, None], _SIGN, layout=layout)


def xnor_product(bits: Operands, k: int) -> Tensor:
    """Return the product of packed signs, float32 [M, N]."""
    y: Tensor = torch.ops.bnnkit.xnor_conv2d(*bits, None, None, None, k, *_ONE_PIXEL)
    return y.flatten(1)


def xnor_integers(bits: Operands, k: int, width: int) -> Tensor:
    """Return the product of packed signs as integers of 16 or 32 bits, [M, N]."""
    y: Tensor = torch.ops.bnnkit.xnor_conv2d_integers(*bits, width, k, *_ONE_PIXEL)
    return y.flatten(1)


def xnor_bits(bits: Operands, k: int, fold: Operands) -> Tensor:
    """Return whether sums reach their column's threshold, packed, uint8 [M, bytes].

    Args:
        fold: int32 [N] thresholds and directions, as `torch.ops.bnnkit.xnor_conv2d_bits` takes them.
    """
    y: Tensor = torch.ops.bnnkit.xnor_conv2d_bits(*bits, *fold, k, *_ONE_PIXEL)
    return y.flatten(0, 3)


def at_zero(columns: int, device: str) -> Operands:
    """Return thresholds of 0, for which a bit is the sign of a sum."""
    zero = torch.zeros(columns, dtype=torch.int32, device=device)
    return zero, zero


def adc_product(bits: Operands, layout: Layout, adc: Adc) -> Tensor:
    """Return the product of packed signs, every array's partial sum converted, float32 [M, N]."""
    reach = min(layout.rows, layout.channels)
    curve = (adc.thresholds(1, reach), adc.levels, adc.gradient_table(1, reach, bits[0].device), adc.scale, adc.offset)
    units = (1.0, 1.0, False, False)
    cut = (layout.channels_per_array, layout.tap)
    y: Tensor = torch.ops.bnnkit.adc_conv2d(*bits, None, None, None, *curve, *units, layout.channels, *_ONE_PIXEL, *cut)
    return y.flatten(1)


def arrays_of(k: int, rows: int) -> Layout:
    """Return the layout of `k` inputs, `rows` per array."""
    return Array(rows).linear_layout(k)
