"""What a network tolerates: the rate of faults at which its accuracy falls, and the share of chips that keep it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bnnkit.train.evaluation import wilson

_ROUNDING = 1e-9
"""Points: less than one image of any data set, more than the rounding of a difference of accuracies."""


@dataclass(frozen=True)
class Yield:
    """`count` of `total` chips, and the 95 % interval of their share, 0 to 1."""

    count: int
    total: int
    interval: tuple[float, float]


class Knee(NamedTuple):
    """Rates at which the lower ends of the intervals, the means and the upper ends fall; None: beyond the last rate."""

    low: float | None
    knee: float | None
    high: float | None


def yield_within(accuracies: Sequence[float], golden: float, drop: float) -> Yield:
    """Return how many maps (chips) have an accuracy of at least golden - drop, with the Wilson interval of the share.

    One that is better than `golden` counts. The interval of no chips at all is (0, 1).

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", 1927.

    Args:
        accuracies: of the maps, in percent, as `golden`.
        drop: in points.

    >>> found = yield_within([97.5, 96.5, 96.4, 98.0], golden=97.5, drop=1)
    >>> found.count, found.total, [round(bound, 3) for bound in found.interval]
    (3, 4, [0.301, 0.954])
    """
    count = sum(accuracy >= golden - drop - _ROUNDING for accuracy in accuracies)
    return Yield(count, len(accuracies), wilson(count, len(accuracies)))


def knee(rates: Sequence[float], accuracies: Sequence[float], golden: float, drop: float = 1.0) -> float | None:
    """Return the rate (or sigma) at which accuracies first fall to y = golden - drop; None if they never do.

    Between the points (r0, y0) and (r1, y1) around it, y0 > y >= y1, with share = (y0 - y) / (y0 - y1):

        r0 * (r1 / r0)^share,    or r0 + share * (r1 - r0) where r0 is 0

    A curve that falls, rises and falls again has its knee at the first fall, also when one noisy point makes it.
    One that lies below at its first rate has it there: the knee is at most that rate. With (0, golden) as the first
    point this happens for no curve.

    Args:
        rates: at least 0, in any order.
        accuracies: in percent, as `golden`.
        drop: above 0, in points.

    Raises:
        ValueError: sequences of different lengths, a negative rate, or a drop that is none.

    >>> round(knee([1e-4, 1e-3, 1e-2], [97.5, 97.0, 96.0], golden=97.5), 6)
    0.003162
    >>> knee([0, 0.5], [97.5, 95.5], golden=97.5)
    0.25
    """
    if not drop > 0 or any(not rate >= 0 for rate in rates):
        raise ValueError(f"knee: drop {drop}, rates {list(rates)}; a drop above 0 and rates from 0 on were needed")
    level = golden - drop
    before: tuple[float, float] | None = None
    for rate, accuracy in sorted(zip(rates, accuracies, strict=True)):
        if accuracy <= level + _ROUNDING:
            return rate if before is None else _between(before, (rate, accuracy), level)
        before = rate, accuracy
    return None


def knee_band(
    rates: Sequence[float],
    means: Sequence[float],
    lows: Sequence[float],
    highs: Sequence[float],
    golden: float,
    drop: float = 1.0,
) -> Knee:
    """Return the `knee` of a curve and those of the curves of its intervals' ends, lows <= means <= highs.

    low <= knee <= high, as far as the curves fall: a lower curve is never the later one to fall. The band says where
    the knee may be for one rate at a time: 95 % holds for each interval, not for the band.

    >>> [rate and round(rate, 4) for rate in knee_band([0.01, 0.1], [97, 95], [96.6, 94], [97.4, 96.6], golden=97.5)]
    [0.0109, 0.0178, None]
    """
    low, middle, high = (knee(rates, curve, golden, drop) for curve in (lows, means, highs))
    return Knee(low, middle, high)


def _between(before: tuple[float, float], after: tuple[float, float], level: float) -> float:
    (start, above), (end, below) = before, after
    share = min(1.0, (above - level) / (above - below))
    if start == 0:
        return share * end
    return min(end, start * math.exp(share * math.log(end / start)))
