"""Thresholds on sums against the chain of float operations they stand for, over every possible sum."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from bnnkit.deploy.fold import Sums, sum_thresholds
from bnnkit.nn.evaluation import normalize
from bnnkit.quantizers import make

FLOATS = st.floats(-4, 4, width=32)


@given(
    bits=st.sampled_from([1, 1.5, 2, 3, 4]),
    channels=st.lists(st.tuples(FLOATS, FLOATS, FLOATS), min_size=1, max_size=5),
    unit=st.sampled_from([1.0, 128.0, 128 / 7, 1 / 15]),
    base=st.sampled_from([0.0, -3.5]),
    bound=st.integers(1, 300),
)
def test_thresholds_reproduce_every_code(bits, channels, unit, base, bound):
    scale, shift, bias = (torch.tensor(column, dtype=torch.float32) for column in zip(*channels, strict=True))
    sums, quantizer = Sums(unit, base, bias, bound), make(bits)
    thresholds, direction = sum_thresholds(sums, scale, shift, quantizer)
    every = torch.arange(-bound, bound + 1)[:, None].expand(-1, len(channels))
    expected = quantizer.code(torch.nn.functional.hardtanh(normalize(sums.values(every), scale, shift)))
    found = (direction * every >= thresholds[:, None]).sum(0)
    assert torch.equal(found.int(), expected)


def test_a_threshold_no_sum_reaches_is_beyond_all_of_them():
    thresholds, _ = sum_thresholds(Sums(1.0, 0.0, None, 5), torch.tensor([0.0]), torch.tensor([-1.0]), make(1))
    assert thresholds.item() == 6
