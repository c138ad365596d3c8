"""When a campaign has seen enough maps, and what that does to its intervals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnnkit.faults.repeats import CHECKPOINTS, enough, maps_needed
from bnnkit.faults.statistics import mean_interval

accuracies = st.lists(st.floats(0, 100), max_size=140)


def test_the_width_at_a_checkpoint_decides() -> None:
    # s = 0.1 * sqrt(8 / 7), n = 8, t = 2.364624: half the width is 0.1 * t / sqrt(7).
    values = [90.0, 90.2] * 4
    reach = 0.1 * 2.364624 / 7**0.5
    assert enough(values, reach * 1.00001)
    assert not enough(values, reach * 0.99999)


@pytest.mark.parametrize("count", [0, 1, 7, 9, 15, 129])
def test_nothing_is_looked_at_between_checkpoints(count: int) -> None:
    assert not enough([90.0] * count, 0.25)


def test_other_checkpoints() -> None:
    assert enough([90.0] * 3, 0, (3, 5))
    assert maps_needed([90.0, 95.0, 90.0], 0.25, (3, 5)) == 5
    assert maps_needed([90.0, 95.0, 90.0, 95.0, 90.0], 0.25, (3, 5)) == 5


@given(accuracies, st.floats(0, 30))
def test_a_continued_campaign_ends_where_it_would_have_ended(values: list[float], ci: float) -> None:
    done = 0
    while done < min(len(values), maps_needed(values[:done], ci)):
        done += 1
    # In one go it stops at `done`; whoever has more values, of a campaign that was to go on, learns the same.
    assert maps_needed(values, ci) == maps_needed(values[:done], ci) in CHECKPOINTS
    assert done <= maps_needed(values, ci)


def stopped(values: list[float], ci: float) -> list[float]:
    return values[: next((n for n in CHECKPOINTS if enough(values[:n], ci)), CHECKPOINTS[-1])]


def test_intervals_hold_the_mean_almost_as_often_as_they_say() -> None:
    # The worst standard deviation: 93.2 % of 20,000 campaigns, see `enough`; of 1,000 it is known to +- 1.6 points.
    campaigns = np.random.default_rng(1).normal(90, 1.8 * 0.25, (1000, CHECKPOINTS[-1])).tolist()
    final = [stopped(values, 0.25) for values in campaigns]
    held = [low <= 90 <= high for low, high in map(mean_interval, final)]
    assert 0.92 <= np.mean(held) < 0.95
    assert 15 < np.mean([len(values) for values in final]) < 25
