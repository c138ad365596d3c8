"""bitplane: integer weights into slices of cell_bit bits, and back."""

from __future__ import annotations

import torch
from torch import Tensor

from bnnkit.ops.extension import load


def slice_weights(w: Tensor, bits: int, cell_bit: int) -> Tensor:
    """Cut unsigned integer weights into slices of `cell_bit` bits, least significant first.

        slice[c] = (w >> (cell_bit * c)) & (2^cell_bit - 1)

    Args:
        w: integers 0 .. 2^bits - 1, any shape.
        bits: 1 to 16.
        cell_bit: bits of one cell, 1 to 8. When it does not divide `bits` the last slice is narrower; no bit is lost.

    Returns:
        uint8 [ceil(bits / cell_bit), *w.shape].

    Raises:
        ValueError: for weights that are not integers, or do not fit int32.
        RuntimeError: for values outside the range, or impossible widths.

    >>> import torch
    >>> slice_weights(torch.tensor([7, 8]), bits=4, cell_bit=1)
    tensor([[1, 0],
            [1, 0],
            [1, 0],
            [0, 1]], dtype=torch.uint8)
    """
    load()
    if w.is_floating_point() or w.is_complex() or not torch.equal(w.to(torch.int32).to(w.dtype), w):
        raise ValueError(f"w: {w.dtype} values are not integers of 32 bits; unsigned codes were needed")
    return torch.ops.bnnkit.slice_weights(w.to(torch.int32).contiguous(), bits, cell_bit)  # type: ignore[no-any-return]


def merge_slices(slices: Tensor, cell_bit: int) -> Tensor:
    """Add slices up again: w = sum of slice[c] * 2^(cell_bit * c).

    Args:
        slices: uint8 [S, ...], least significant first, each below 2^cell_bit.

    Returns:
        int32 [...].

    Raises:
        RuntimeError: for another dtype, a value that does not fit its cell, or more bits than int32 holds.

    >>> import torch
    >>> merge_slices(slice_weights(torch.arange(5), bits=3, cell_bit=2), cell_bit=2)
    tensor([0, 1, 2, 3, 4], dtype=torch.int32)
    """
    load()
    return torch.ops.bnnkit.merge_slices(slices.contiguous(), cell_bit)  # type: ignore[no-any-return]
