"""What is known about a mean after a few fault maps."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import numpy as np
import torch

from bnnkit.counter import uniform_int

_STEPS = 64


def mean_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Return the interval that holds the mean of a normal distribution with probability `level`, from draws of it.

        mean +- t(n - 1) * s / sqrt(n),    s the standard deviation with n - 1

    Raises:
        ValueError: fewer than two values.

    >>> [round(bound, 3) for bound in mean_interval([1.0, 2.0, 3.0])]
    [-0.484, 4.484]
    """
    if len(values) < 2:
        raise ValueError(f"mean_interval: {len(values)} values; at least 2 were needed")
    mean = statistics.fmean(values)
    reach = student_t(len(values) - 1, level) * statistics.stdev(values) / math.sqrt(len(values))
    return mean - reach, mean + reach


def bootstrap_interval(
    values: Sequence[float], level: float = 0.95, draws: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Return an interval for the mean of a distribution of any shape, from n draws of it: for shares near 0 or 1.

    The means of n values drawn from `values` with replacement, `draws` times; of those means the quantiles

        p and 1 - p,    p = Phi(-t(n - 1) * sqrt(n / (n - 1)))

    with t as in `mean_interval`: plain percentiles, p = 0.025, make an interval too narrow by sqrt((n - 1) / n) and by
    what a normal quantile is below Student's. It stays inside the range of the values, it is a point where all of them
    are equal, and their order does not matter. Up to 3 values it is all of their range, which is not wide enough.
    In 6,000 simulations each, the 95 % interval of n = 3, 8, 16 and 64 normal values held the mean in 75, 94, 95 and
    95 of 100 cases (plain percentiles: 75, 89, 92, 95), of exponential ones in 70, 90, 93 and 94 (70, 84, 90, 93).

    Source: Hesterberg, "What teachers should know about the bootstrap: resampling in the undergraduate statistics
    curriculum", The American Statistician 69, 2015: the expanded percentile interval.

    Args:
        seed: key of the draws, see `bnnkit.counter`: the same numbers everywhere.

    Raises:
        ValueError: fewer than two values, about whose spread nothing is known.

    >>> [round(bound, 2) for bound in bootstrap_interval([0.0, 0.0, 0.1, 0.1, 0.2, 0.2, 0.4, 3.0])]
    [0.06, 1.57]
    >>> bootstrap_interval([0.2, 0.2])
    (0.2, 0.2)
    """
    count = len(values)
    if count < 2:
        raise ValueError(f"bootstrap_interval: {count} values; at least 2 were needed")
    ordered = np.sort(np.asarray(values, np.float64))
    sums, numbers = np.zeros(draws), torch.arange(draws)
    for place in range(count):
        sums += ordered[uniform_int(count, seed, place, numbers).numpy()]
    reach = student_t(count - 1, level) * math.sqrt(count / (count - 1))
    tail = statistics.NormalDist().cdf(-reach)
    # A sum of equal numbers is not always their multiple.
    means = np.clip(sums / count, ordered[0], ordered[-1])
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def student_t(degrees: int, level: float = 0.95) -> float:
    """Return t such that |T| < t with probability `level`, for Student's distribution.

    Args:
        degrees: of freedom, at least 1.
        level: above 0 and below 1.

    >>> round(student_t(2), 3)
    4.303
    """
    if degrees < 1 or not 0 < level < 1:
        raise ValueError(f"student_t: {degrees} degrees, level {level}; at least 1 and a share were needed")
    low, high = 0.0, math.pi / 2
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if _within(middle, degrees) < level:
            low = middle
        else:
            high = middle
    return math.sqrt(degrees) * math.tan(low)


def _within(angle: float, degrees: int) -> float:
    """Return P(|T| < sqrt(degrees) * tan(angle)), a finite sum for whole degrees of freedom.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
    """
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2
    term, total = (cosine, 0.0) if odd else (1.0, 0.0)
    for power in range(odd, degrees - 1, 2):
        total += term
        term *= (power + 1) / (power + 2) * cosine**2
    return (angle + sine * total) * 2 / math.pi if odd else sine * total
