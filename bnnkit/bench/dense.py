"""The same products by torch, on operands that already have the type."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bnnkit.bench.contest import Side
from bnnkit.bench.report import Work
from bnnkit.errors import UsageError

PRODUCTS: dict[str, tuple[str, torch.dtype]] = {
    "fp32": ("torch fp32", torch.float32),
    "bf16": ("torch bf16", torch.bfloat16),
    "int8": ("torch int8", torch.int8),
}
"""Opponent -> name of its rows and type of its operands; int8 is `torch._int_mm`."""

MOST_VALUES = 1 << 31


def signs(shape: Sequence[int], seed: int) -> Tensor:
    """Return random +-1, float32.

    Raises:
        UsageError: more values than fit into memory on ordinary machines.
    """
    values = 1
    for size in shape:
        values *= size
    if values > MOST_VALUES:
        raise UsageError(f"bench: an operand of {values:,} values; at most {MOST_VALUES:,} fit", hint="use less")
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 2, tuple(shape), generator=generator, dtype=torch.float32).mul_(2).sub_(1)


def product_sides(x: Tensor, w: Tensor, opponents: Sequence[str], threads: int, device: str = "cpu") -> list[Side]:
    """Return torch's products of `x` [M, K] and `w` [N, K] on a device as contenders."""
    work = Work(len(x) * len(w) * x.shape[1], "MAC")
    x, w = x.to(device), w.to(device)
    return [
        Side(PRODUCTS[name][0], product(x, w, PRODUCTS[name][1]), work, threads, device=device) for name in opponents
    ]


def product(x: Tensor, w: Tensor, dtype: torch.dtype) -> Callable[[], Tensor]:
    """Return the product of `x` and the transposed `w` in `dtype` as a function, its operands converted beforehand."""
    a, b = x.to(dtype), w.to(dtype).T
    if dtype == torch.int8:
        return lambda: torch._int_mm(a, b)
    return lambda: a @ b


def row_names(opponents: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the rows of these opponents."""
    return tuple(PRODUCTS[name][0] for name in opponents)
