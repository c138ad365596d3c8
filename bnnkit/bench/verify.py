"""Comparing a kernel's whole output with the reference, or a sample of it where the reference would take minutes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from bnnkit.bench.report import Check

REFERENCE_MACS = 1 << 28
"""Products the reference may compute per sample: about a second."""


class ProductOracle:
    """The reference product of `x` [M, K] and `w` [N, K]: whole, or some rows and some columns of it.

    Args:
        x, w: operands.
        product: the reference.
        macs: how many products it may compute for the rows, and again for the columns.
    """

    def __init__(
        self, x: Tensor, w: Tensor, product: Callable[[Tensor, Tensor], Tensor], macs: int = REFERENCE_MACS
    ) -> None:
        self._x = x
        self._w = w
        self._product = product
        k = x.shape[1]
        self.rows = spread(len(x), macs // (len(w) * k))
        self.columns = spread(len(w), macs // (len(x) * k))

    @property
    def whole(self) -> bool:
        return len(self.rows) == len(self._x)

    @cached_property
    def _expected(self) -> tuple[Tensor, Tensor]:
        by_rows = self._product(self._x[self.rows], self._w)
        return by_rows, by_rows if self.whole else self._product(self._x, self._w[self.columns])

    def check(self, y: Tensor) -> Check:
        """Compare the kernel's `y` [M, N] with the reference: every value must be equal."""
        y = y.cpu()
        shape = (len(self._x), len(self._w))
        if tuple(y.shape) != shape:
            return Check(False, "shape", f"{tuple(y.shape)} instead of {shape}")
        by_rows, by_columns = self._expected
        if self.whole:
            return equal(y, by_rows, "the whole output")
        compared = (
            f"{len(self.rows):,} of {shape[0]:,} rows and {len(self.columns):,} of {shape[1]:,} columns of the output"
        )
        found = equal(y[self.rows], by_rows, compared)
        return found if not found.passed else equal(y[:, self.columns], by_columns, compared)


def spread(count: int, wanted: int) -> Tensor:
    """Return `wanted` indices (at least 2, at most all) spread over 0 .. count-1, both ends among them.

    >>> spread(10, 4).tolist(), spread(3, 9).tolist()
    ([0, 3, 6, 9], [0, 1, 2])
    """
    return torch.linspace(0, count - 1, min(max(wanted, 2), count)).round().long()


def equal(got: Tensor, expected: Tensor, compared: str) -> Check:
    """Check that all values are equal.

    >>> equal(torch.tensor([1.0, 2.0]), torch.tensor([1, 3]), "all").detail
    '1 of 2 values differ, first 2 instead of 3 at (1,)'
    """
    if got.shape != expected.shape:
        return Check(False, compared, f"shape {tuple(got.shape)} instead of {tuple(expected.shape)}")
    wrong = got != expected.to(got.dtype)
    if not bool(wrong.any()):
        return Check(True, compared)
    where = tuple(int(i) for i in wrong.nonzero()[0])
    values = f"first {got[where].item():g} instead of {expected[where].item():g} at {where}"
    return Check(False, compared, f"{int(wrong.sum()):,} of {wrong.numel():,} values differ, {values}")


def near(got: Tensor, expected: Tensor, tolerance: float, compared: str) -> Check:
    """Check that no value is off by more than `tolerance` of the largest.

    >>> near(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.1]), 0.01, "all").detail
    'off by up to 0.048 of the largest value'
    """
    if got.shape != expected.shape:
        return Check(False, compared, f"shape {tuple(got.shape)} instead of {tuple(expected.shape)}")
    compared = f"{compared}, within {tolerance:g} of the largest value"
    off = float((got - expected).abs().max() / expected.abs().max())
    return (
        Check(True, compared)
        if off <= tolerance
        else Check(False, compared, f"off by up to {off:.2g} of the largest value")
    )
