from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bnnkit.counter import hash32, permutation, uniform_int

KEY = st.integers(0, 2**32 - 1)


def oracle(*keys: int) -> int:
    """The definition in plain integers."""
    state = 0
    for key in keys:
        state = ((state ^ key) + 0x9E3779B9) % 2**32
        state = (state ^ (state >> 16)) * 0x85EBCA6B % 2**32
        state = (state ^ (state >> 13)) * 0xC2B2AE35 % 2**32
        state ^= state >> 16
    return state


@given(st.lists(KEY, min_size=1, max_size=4), st.lists(KEY, min_size=1, max_size=5))
def test_hash_is_its_definition(keys, last):
    assert hash32(*keys, torch.tensor(last)).tolist() == [oracle(*keys, key) for key in last]


def test_order_of_keys_counts_and_only_their_low_32_bits():
    assert hash32(1, 2).item() != hash32(2, 1).item()
    assert hash32(-1).item() == hash32(2**32 - 1).item()


@pytest.mark.parametrize("bound", [1, 2, 9, 1000])
def test_uniform_integers_fill_their_range_evenly(bound):
    draws = uniform_int(bound, 5, torch.arange(200 * bound))
    counts = draws.bincount(minlength=bound).double()
    assert len(counts) == bound
    chi_square = ((counts - 200) ** 2 / 200).sum().item()
    assert chi_square < bound + 5 * (2 * bound) ** 0.5


def test_neighbouring_keys_are_uncorrelated():
    bits = torch.stack([uniform_int(2, seed, epoch, torch.arange(4096)) for seed in range(4) for epoch in range(4)])
    correlation = torch.corrcoef(bits.double())
    assert (correlation - torch.eye(16)).abs().max() < 0.07


@given(st.integers(0, 300), KEY)
def test_permutation(count, seed):
    assert sorted(permutation(count, seed).tolist()) == list(range(count))


def test_permutations_differ_by_key_and_repeat():
    assert torch.equal(permutation(100, 1, 2), permutation(100, 1, 2))
    assert not torch.equal(permutation(100, 1, 2), permutation(100, 1, 3))
    # A uniform permutation of n has one fixed point on average.
    fixed = sum((permutation(50, seed) == torch.arange(50)).sum().item() for seed in range(400)) / 400
    assert 0.8 < fixed < 1.2
