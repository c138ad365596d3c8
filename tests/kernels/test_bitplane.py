"""bitplane: slices of integer weights equal the specification's, and merging restores the weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bnnkit import ops, reference

from .problems import every_variant


@settings(max_examples=80, deadline=None)
@given(
    bits=st.integers(1, 16),
    cell_bit=st.integers(1, 8),
    shape=st.lists(st.integers(0, 9), max_size=4),
    dtype=st.sampled_from([torch.int32, torch.int64, torch.int16]),
    seed=st.integers(0, 2**32),
)
def test_slices_equal_the_reference(bits: int, cell_bit: int, shape: list[int], dtype: Any, seed: int) -> None:
    bits = min(bits, 15) if dtype == torch.int16 else bits
    w = torch.randint(2**bits, shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
    expected = reference.slice_weights(w, bits, cell_bit)
    for name in every_variant():
        slices = ops.slice_weights(w, bits, cell_bit)
        assert torch.equal(slices, expected), name
        assert torch.equal(ops.merge_slices(slices, cell_bit), w.int()), name


def test_two_threads_change_nothing() -> None:
    w = torch.randint(2**11, (30_000,), generator=torch.Generator().manual_seed(1))
    expected = reference.slice_weights(w, 11, 3)
    for name in every_variant(threads=2):
        slices = ops.slice_weights(w, 11, 3)
        assert torch.equal(slices, expected), name
        assert torch.equal(ops.merge_slices(slices, 3), w.int()), name


def test_the_papers_example() -> None:
    w = torch.randint(16, (128, 128, 3, 3))
    assert ops.slice_weights(w, bits=4, cell_bit=1).shape == (4, 128, 128, 3, 3)
    assert ops.slice_weights(torch.tensor(7), 4, 1).tolist() == [1, 1, 1, 0]
    assert ops.slice_weights(torch.tensor(8), 4, 1).tolist() == [0, 0, 0, 1]


def test_a_narrower_last_slice_drops_nothing() -> None:
    w = torch.arange(32)
    slices = ops.slice_weights(w, 5, 3)
    assert slices.shape == (2, 32) and slices[1].max() == 3
    assert torch.equal(ops.merge_slices(slices, 3), w.int())


def test_views() -> None:
    w = torch.arange(48).reshape(6, 8)
    for view in (w[::2], w.T, w[:, 1:3], w[:1].expand(3, -1)):
        slices = ops.slice_weights(view, 6, 2)
        assert torch.equal(slices, reference.slice_weights(view, 6, 2))
        assert torch.equal(ops.merge_slices(slices.mT, 2), view.mT.int())


@pytest.mark.parametrize(
    ("w", "bits", "cell_bit", "message"),
    [
        (torch.tensor([16]), 4, 1, r"w: has values outside 0\.\.15"),
        (torch.tensor([-1]), 4, 1, r"w: has values outside 0\.\.15"),
        (torch.tensor([-1]), 16, 8, r"w: has values outside 0\.\.65535"),
        (torch.tensor([2**32 + 1]), 4, 1, "w: "),
        (torch.tensor([1.5]), 4, 1, "w: "),
        (torch.tensor([1]), 0, 1, "bits: 0; needed 1 to 16"),
        (torch.tensor([1]), 17, 1, "bits: 17; needed 1 to 16"),
        (torch.tensor([1]), 4, 0, "cell_bit: 0; needed 1 to 8"),
        (torch.tensor([1]), 4, 9, "cell_bit: 9; needed 1 to 8"),
    ],
)
def test_what_cannot_be_sliced_is_refused(w: Tensor, bits: int, cell_bit: int, message: str) -> None:
    with pytest.raises((RuntimeError, ValueError), match=message):
        ops.slice_weights(w, bits, cell_bit)


@pytest.mark.parametrize(
    ("slices", "cell_bit", "message"),
    [
        (torch.tensor([[1], [2]], dtype=torch.uint8), 1, "slices: "),  # 2 does not fit a cell of one bit
        (torch.ones(2, 3), 1, "slices: .*uint8"),
        (torch.ones(0, 3, dtype=torch.uint8), 1, "slices: needed"),
        (torch.tensor(1, dtype=torch.uint8), 1, "slices: needed"),
        (torch.ones(5, 3, dtype=torch.uint8), 8, "exceed int32"),
        (torch.ones(2, 3, dtype=torch.uint8), 0, "cell_bit: 0"),
    ],
)
def test_what_cannot_be_merged_is_refused(slices: Tensor, cell_bit: int, message: str) -> None:
    with pytest.raises((RuntimeError, ValueError), match=message):
        ops.merge_slices(slices, cell_bit)
