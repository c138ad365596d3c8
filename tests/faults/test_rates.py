"""Rates as they are written, and what is wrong with the others."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnnkit.errors import UsageError
from bnnkit.faults.rates import parse_rates

positive = st.floats(1e-300, 1e300)


@pytest.mark.parametrize(
    ("text", "rates"),
    [
        ("0.01", [0.01]),
        ("0", [0.0]),
        ("-0", [0.0]),
        (" 1e-3, 0.5 ,1e-4", [1e-4, 1e-3, 0.5]),
        ("1e-4:1e-1:log4", [0.0001, 0.001, 0.01, 0.1]),
        ("1e-4:1:log2", [0.0001, 1.0]),
        ("0:1:lin11", [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]),
        (" 1 : 4 : log3 ", [1.0, 2.0, 4.0]),
    ],
)
def test_what_is_meant(text: str, rates: list[float]) -> None:
    assert parse_rates(text) == rates
    assert all(math.copysign(1, rate) == 1 for rate in parse_rates(text))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "'' is not a number"),
        ("many", "'many' is not a number"),
        ("0.1,", "'' is not a number"),
        ("0.1,nan", "at least 0"),
        ("inf", "at least 0"),
        ("-0.1", "at least 0"),
        ("0.1,1e-1", "twice"),
        ("0.1:0.2", "FIRST:LAST:logN"),
        ("0.1:0.2:9", "FIRST:LAST:logN"),
        ("0.1:0.2:log", "FIRST:LAST:logN"),
        ("0.1:0.2:log-3", "FIRST:LAST:logN"),
        ("0.1:0.2:log3:lin4", "FIRST:LAST:logN"),
        ("a:0.2:log3", "'a' is not a number"),
        ("0.1:0.2:log1", "2 to 1000"),
        ("0.1:0.2:lin1001", "2 to 1000"),
        ("0:0.2:log3", "steps from 0"),
        ("0.2:0.1:log3", "rises"),
        ("0.2:0.2:lin3", "rises"),
        ("-0.2:0.2:lin3", "at least 0"),
        ("5e-324:1e-323:lin9", "twice"),
    ],
)
def test_nonsense(text: str, what: str) -> None:
    with pytest.raises(UsageError, match=what) as failure:
        parse_rates(text)
    assert failure.value.hint


@given(st.tuples(positive, positive).map(sorted), st.integers(2, 40), st.sampled_from(["log", "lin"]))
def test_ranges_rise_in_equal_steps_between_their_ends(ends: list[float], count: int, spacing: str) -> None:
    first, last = ends
    if last < first * (1 + 1e-9):
        return
    rates = parse_rates(f"{first!r}:{last!r}:{spacing}{count}")
    assert (rates[0], rates[-1], len(rates)) == (first, last, count)
    assert sorted(set(rates)) == rates
    share = 1 / (count - 1)
    if spacing == "log":
        second = math.exp(math.log(first) + share * (math.log(last) - math.log(first)))
        assert rates[1] == pytest.approx(second, rel=1e-9)
    else:
        assert rates[1] - first == pytest.approx(share * (last - first), rel=1e-5)
