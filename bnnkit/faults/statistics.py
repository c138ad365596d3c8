"""What is known about a mean after a few fault maps."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

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
