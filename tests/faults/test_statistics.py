"""Student's distribution against tables, and the interval over maps."""

from __future__ import annotations

import pytest

from bnnkit.faults import mean_interval, student_t


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
