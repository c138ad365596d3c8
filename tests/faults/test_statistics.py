"""Student's distribution against tables, and the intervals over maps."""

from __future__ import annotations

import itertools
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnnkit.faults.statistics import bootstrap_interval, mean_interval, student_t


@pytest.mark.parametrize(
    ("degrees", "quantile"),
    [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (9, 2.262), (10, 2.228), (29, 2.045), (30, 2.042), (1000, 1.962)],
)
def test_quantiles_of_95_percent(degrees: int, quantile: float) -> None:
    assert round(student_t(degrees), 3) == quantile


@pytest.mark.parametrize(("level", "quantile"), [(0.9, 2.920), (0.99, 9.925), (0.5, 0.816)])
def test_quantiles_of_other_levels(level: float, quantile: float) -> None:
    assert round(student_t(2, level), 3) == quantile


def test_interval_of_known_draws() -> None:
    # Mean 5, s = sqrt(32 / 7), n = 8, t = 2.3646.
    low, high = mean_interval([2, 4, 4, 4, 5, 5, 7, 9])
    assert (low + high) / 2 == pytest.approx(5)
    assert (high - low) / 2 == pytest.approx(2.364624 * (32 / 7) ** 0.5 / 8**0.5, rel=1e-6)
    assert mean_interval([3.0, 3.0]) == (3.0, 3.0)


def test_impossible_arguments() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        mean_interval([1.0])
    for arguments in ((0, 0.95), (1, 0.0), (1, 1.0)):
        with pytest.raises(ValueError, match="at least 1 and a share"):
            student_t(*arguments)


def test_the_bootstrap_against_all_draws_there_are() -> None:
    # 5^5 equally likely draws; p = Phi(-2.7764 * sqrt(5 / 4)) = 0.000954.
    values = [0.0, 1.0, 2.0, 4.0, 8.0]
    means = sorted(statistics.fmean(drawn) for drawn in itertools.product(values, repeat=5))
    low, high = bootstrap_interval(values, draws=100_000)
    assert low == pytest.approx(np.quantile(means, 0.000954), abs=0.21)
    assert high == pytest.approx(np.quantile(means, 1 - 0.000954), abs=0.21)
    # At p = 0.05 = Phi(-1.6449) the same, with t = 1.4712 of 4 degrees: a level of 0.7848.
    low, high = bootstrap_interval(values, level=0.7848, draws=100_000)
    assert low == pytest.approx(np.quantile(means, 0.05), abs=0.01)
    assert high == pytest.approx(np.quantile(means, 0.95), abs=0.01)


@given(st.lists(st.floats(0, 100), min_size=2, max_size=20), st.integers(0, 5))
def test_the_bootstrap_of_any_values(values: list[float], seed: int) -> None:
    low, high = bootstrap_interval(values, draws=200, seed=seed)
    assert min(values) <= low <= high <= max(values)
    assert bootstrap_interval(values[::-1], draws=200, seed=seed) == (low, high)
    higher = bootstrap_interval([value + 1 for value in values], draws=200, seed=seed)
    assert higher == pytest.approx((low + 1, high + 1))


def test_the_seed_of_a_bootstrap() -> None:
    values = [0.0, 0.1, 0.3, 0.7, 1.5, 3.1, 6.3, 12.7]
    assert bootstrap_interval(values) == bootstrap_interval(values) != bootstrap_interval(values, seed=1)
    assert bootstrap_interval(values) == pytest.approx(bootstrap_interval(values, seed=1), rel=0.15)


def test_the_bootstrap_needs_two_values() -> None:
    for values in ([], [1.0]):
        with pytest.raises(ValueError, match="at least 2"):
            bootstrap_interval(values)


@pytest.mark.parametrize(("count", "least"), [(8, 0.92), (16, 0.92)])
def test_bootstrap_intervals_hold_the_mean(count: int, least: float) -> None:
    drawn = np.random.default_rng(0).normal(0, 1, (400, count)).tolist()
    held = [low <= 0 <= high for low, high in (bootstrap_interval(values, draws=500) for values in drawn)]
    assert least <= np.mean(held) <= 0.97
