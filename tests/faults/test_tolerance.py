"""Knees and yields against values computed by hand, and what holds for every curve."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnnkit.faults.tolerance import Yield, knee, knee_band, yield_within
from bnnkit.train.evaluation import wilson

points = st.lists(
    st.tuples(st.floats(0, 1).filter(lambda rate: rate == 0 or rate > 1e-9), *[st.floats(0, 100)] * 3),
    min_size=1,
    max_size=9,
    unique_by=lambda point: point[0],
)


def test_the_knee_between_two_points() -> None:
    # y = 96.5 is 1/4 of the way from 97 to 95: 1e-4 * 100^(1/4).
    assert knee([1e-5, 1e-4, 1e-2], [97.5, 97.0, 95.0], 97.5) == pytest.approx(1e-4 * 100**0.25)
    assert knee([1e-2, 1e-4, 1e-5], [95.0, 97.0, 97.5], 97.5) == pytest.approx(1e-4 * 100**0.25)
    assert knee([0, 0.4], [97.0, 95.0], 97.5) == pytest.approx(0.1)
    assert knee([1e-4, 1e-2], [97.0, 93.5], 97.5, drop=4) == 1e-2


def test_curves_that_do_not_fall_or_begin_below() -> None:
    assert knee([1e-4, 1e-2], [97.5, 96.6], 97.5) is None
    assert knee([], [], 97.5) is None
    assert knee([1e-4, 1e-2], [96.0, 97.5], 97.5) == 1e-4
    assert knee([0, 1e-2], [96.0, 90.0], 97.5) == 0


def test_the_first_fall_counts() -> None:
    rates, falling = [1e-4, 1e-3, 1e-2, 1e-1], [97.5, 96.0, 97.4, 50.0]
    assert knee(rates, falling, 97.5) == pytest.approx(1e-4 * 10 ** (2 / 3))
    assert knee(rates, [97.5, 97.0, 97.4, 50.0], 97.5) > 1e-2  # type: ignore[operator]


def test_a_rounded_difference_is_still_the_drop() -> None:
    golden = 100 * 983 / 1000
    assert knee([0, 0.5], [golden, 0.1 * 3 + 97.0], golden) == pytest.approx(0.5)
    assert yield_within([0.1 * 3 + 97.0], golden, 1).count == 1
    assert yield_within([golden - 1 - 1e-6], golden, 1).count == 0


@given(points, st.floats(0.01, 50))
def test_a_knee_is_between_rates_and_bands_are_in_order(curve: list[tuple[float, ...]], drop: float) -> None:
    rates = [point[0] for point in curve]
    lows, means, highs = zip(*(sorted(point[1:]) for point in curve), strict=True)
    found = knee_band(rates, means, lows, highs, 90, drop)
    known = [rate for rate in found if rate is not None]
    assert known == [*found[: len(known)]]
    assert all(min(rates) <= rate <= max(rates) for rate in known)
    assert all(first <= second * (1 + 1e-9) for first, second in itertools.pairwise(known))
    assert (found.knee is None) == all(mean > 90 - drop + 1e-9 for mean in means)


@given(points, st.floats(0.01, 50), st.floats(0.01, 50))
def test_a_smaller_drop_comes_first(curve: list[tuple[float, ...]], one: float, other: float) -> None:
    rates, means = [point[0] for point in curve], [point[1] for point in curve]
    first, second = (knee(rates, means, 90, drop) for drop in sorted((one, other)))
    assert second is None or (first is not None and first <= second * (1 + 1e-9))


@pytest.mark.parametrize(("rates", "drop"), [([-0.1], 1.0), ([0.1], 0.0), ([0.1], float("nan")), ([0.1, 0.2], 1.0)])
def test_impossible_arguments(rates: list[float], drop: float) -> None:
    with pytest.raises(ValueError):
        knee(rates, [90.0], 97.5, drop)


def test_the_yield_of_known_chips() -> None:
    found = yield_within([97.5, 99.0, 95.5, 95.4, 10.0], 97.5, 2)
    assert found == Yield(3, 5, wilson(3, 5))
    assert found.interval == pytest.approx((0.2307, 0.8824), abs=1e-4)
    assert yield_within([], 97.5, 2) == Yield(0, 0, (0.0, 1.0))
