"""Packed bits as numbers again, by torch's own operations on any device."""

from __future__ import annotations

import torch
from torch import Tensor


def unpack_bits(packed: Tensor, count: int) -> Tensor:
    """Return the first `count` bits of every row, the lowest bit of a byte first.

    Args:
        packed: uint8 [..., bytes].

    Returns:
        uint8 [..., count] of 0 and 1.

    >>> unpack_bits(torch.tensor([[5, 1]], dtype=torch.uint8), 9).tolist()
    [[1, 0, 1, 0, 0, 0, 0, 0, 1]]
    """
    packed = packed[..., : -(-count // 8)]
    bits = packed.unsqueeze(-1) >> torch.arange(8, dtype=torch.uint8, device=packed.device) & 1
    return bits.flatten(-2)[..., :count]
