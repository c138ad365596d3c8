"""Random numbers for positions are those of `bnnkit.counter`."""

from __future__ import annotations

import pytest
import torch

from bnnkit.counter import hash32, uniform
from bnnkit.draws import chosen, random_bits

IMAGES = torch.tensor([0, 3, 70_000, 2**31 + 5])


@pytest.mark.parametrize("count", [1, 31, 64, 100, 70_000])
@pytest.mark.parametrize("rate", [0.0, 1e-9, 0.3, 0.5, 1 - 1e-12, 1.0])
def test_positions_are_chosen_as_uniform_numbers_say(count: int, rate: float) -> None:
    expected = uniform(5, 2, IMAGES[:, None], torch.arange(count)) < rate
    assert torch.equal(torch.from_numpy(chosen(rate, count, 5, 2, IMAGES)).bool(), expected)


@pytest.mark.parametrize("count", [1, 31, 64, 100])
def test_random_bits_are_the_bits_of_hashes(count: int) -> None:
    place = torch.arange(count)
    expected = (hash32(5, 2, IMAGES[:, None], place // 32) >> (place % 32)) & 1
    assert torch.equal(torch.from_numpy(random_bits(count, 5, 2, IMAGES)).long(), expected)


def test_bits_are_fair_and_independent_of_their_neighbours() -> None:
    bits = torch.from_numpy(random_bits(3072, 1, torch.arange(200))).double() - 0.5
    draws = bits.numel()
    for product in (bits, 2 * bits[:, 1:] * bits[:, :-1], 2 * bits[1:] * bits[:-1]):
        assert abs(float(product.sum())) < 5 * 0.5 * draws**0.5
