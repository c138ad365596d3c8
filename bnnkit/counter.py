"""Randomness without a state: a number is a hash of where it is used, so order, batches and threads cannot change it.

    h = 0;  for each key k (unsigned 32 bits):  h = mix((h ^ k) + 0x9e3779b9 mod 2^32)

with `mix` the 32-bit finalizer of MurmurHash3 (Appleby), a bijection in which every input bit reaches every output
bit. Good for augmentation, shuffling and splits; not for cryptography.
"""

from __future__ import annotations

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF


def hash32(*keys: int | Tensor) -> Tensor:
    """Return the hash of the keys as int64 in 0..2^32-1; int64 tensor keys broadcast against each other.

    Only the low 32 bits of a key count.

    Example:
        >>> hash32(1, 2, torch.arange(2)).shape
        torch.Size([2])
    """
    state: Tensor = torch.zeros((), dtype=torch.int64)
    for key in keys:
        if isinstance(key, Tensor) and state.ndim == 0:
            state = state.to(key.device)
        state = step(state, key)
    return state


def step(state: Tensor, key: int | Tensor) -> Tensor:
    """Return the hash of one more key after those that `state` is the hash of.

    Example:
        >>> bool(step(hash32(1, 2), 3) == hash32(1, 2, 3))
        True
    """
    return _mix(((state ^ (key & _MASK)) + 0x9E3779B9) & _MASK)


def uniform_int(bound: int, *keys: int | Tensor) -> Tensor:
    """Return integers in 0..bound-1 keyed like `hash32`; the bias is below bound / 2^32."""
    return (hash32(*keys) * bound) >> 32


def uniform(*keys: int | Tensor) -> Tensor:
    """Return numbers in (0, 1), float64, keyed like `hash32`."""
    return (hash32(*keys).double() + 0.5) / 2**32


def normal(*keys: int | Tensor) -> Tensor:
    """Return numbers of the standard normal distribution, float64, keyed like `hash32`.

    Example:
        >>> round(float(normal(7, torch.arange(100_000)).std()), 2)
        1.0
    """
    drawn: Tensor = torch.special.ndtri(uniform(*keys))
    return drawn


def permutation(count: int, *keys: int) -> Tensor:
    """Return a permutation of 0..count-1 as int64 [count], keyed like `hash32`.

    Example:
        >>> sorted(permutation(4, 7).tolist())
        [0, 1, 2, 3]
    """
    index = torch.arange(count)
    # Two hashes per index: 62 bits make ties, which a sort would order by index, as good as impossible.
    high, low = (hash32(*keys, draw, index) for draw in (0, 1))
    return torch.argsort((high >> 1) << 31 | (low >> 1), stable=True)


def _mix(value: Tensor) -> Tensor:
    # Products of two 32-bit numbers wrap in int64; the low 32 bits are right all the same.
    value = ((value ^ (value >> 16)) * 0x85EBCA6B) & _MASK
    value = ((value ^ (value >> 13)) * 0xC2B2AE35) & _MASK
    return value ^ (value >> 16)
