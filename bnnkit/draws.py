"""Random numbers for every position of many rows at once, keyed like `bnnkit.counter`.

The last key of `bnnkit.counter.hash32` is the position. That step is done here by NumPy on unsigned 32-bit integers, in
pieces that stay in the cache: the same numbers in a tenth of the time, on one thread. Threads would have to meet after
each of these short operations, which takes longer than the operations themselves on a processor that is in use.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bnnkit.counter import hash32

Bits: TypeAlias = npt.NDArray[np.uint8]
"""0 or 1 in each byte."""
Words: TypeAlias = npt.NDArray[np.uint32]

_CACHED = 1 << 16
"""Positions that are hashed together."""


def below(rate: float) -> int:
    """Return the number that hashes h with (h + 1/2) / 2^32 < rate are below, 0 to 2^32.

    >>> below(0.25) == 2**30
    True
    """
    return min(max(math.ceil(rate * 2**32 - 0.5), 0), 2**32)


def chosen(rate: float, count: int, *keys: int | Tensor) -> Bits:
    """Return 1 at positions chosen with probability `rate`, [B, count]: `uniform(*keys, position) < rate`.

    What a rate chooses, every higher rate chooses too.

    Args:
        keys: integers, and one int64 tensor [B].

    Example:
        >>> import torch
        >>> int(chosen(0.25, 10_000, 7, torch.tensor([4])).sum())
        2461
    """
    states = _states(keys)
    found: Bits = np.ones((len(states), count), np.uint8)
    limit = below(rate)
    if limit == 2**32:
        return found
    step = max(1, _CACHED // count)
    for start in range(0, len(states), step):
        piece = slice(start, start + step)
        np.less(_hash_positions(states[piece], count), limit, out=found[piece].view(np.bool_))
    return found


def random_bits(count: int, *keys: int | Tensor) -> Bits:
    """Return random bits [B, count]: bit p % 32 of `hash32(*keys, p // 32)` at position p.

    Args:
        keys: integers, and one int64 tensor [B].

    Example:
        >>> import torch
        >>> int(random_bits(10_000, 7, torch.tensor([4])).sum())
        5079
    """
    words = _hash_positions(_states(keys), -(-count // 32))
    stored = words.astype("<u4", copy=False).view(np.uint8)
    return np.unpackbits(stored, axis=1, count=count, bitorder="little")


def normals(count: int, *keys: int | Tensor) -> npt.NDArray[np.float64]:
    """Return numbers of the standard normal distribution [B, count], `bnnkit.counter.normal(*keys, position)`.

    Args:
        keys: integers, and one int64 tensor [B].

    Example:
        >>> import torch
        >>> round(float(normals(10_000, 7, torch.tensor([4])).std()), 2)
        1.0
    """
    states = _states(keys)
    drawn: npt.NDArray[np.float64] = np.empty((len(states), count))
    step = max(1, _CACHED // count)
    for start in range(0, len(states), step):
        piece = slice(start, start + step)
        uniform = (_hash_positions(states[piece], count) + 0.5) / 2**32
        torch.special.ndtri(torch.from_numpy(uniform), out=torch.from_numpy(drawn[piece]))
    return drawn


def _states(keys: tuple[int | Tensor, ...]) -> Words:
    states: Words = hash32(*keys).cpu().numpy().astype(np.uint32)
    return states


def _hash_positions(states: Words, count: int) -> Words:
    """Return the last step of `hash32` from states [B] for positions 0..count-1: [B, count]."""
    value = states[:, None] ^ np.arange(count, dtype=np.uint32)
    shifted = np.empty_like(value)
    value += 0x9E3779B9
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        value ^= np.right_shift(value, shift, out=shifted)
        value *= factor
    value ^= np.right_shift(value, 16, out=shifted)
    return value
