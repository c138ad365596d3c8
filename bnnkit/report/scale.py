"""Axes: where a value lies on one, and which values are written beside it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

MOST_TICKS = 7
MOST_DIGITS = 3
"""After the point: beside an axis there is no room for more."""
STEPS = (1, 2, 5, 10)
_ZERO = 0.5
"""Decades that an axis of rates has between 0 and its first rate."""


class Scale(Protocol):
    """One axis."""

    def place(self, value: float) -> float:
        """Return where a value lies, 0 at the beginning of the axis and 1 at its end."""
        ...

    def ticks(self) -> list[tuple[float, str]]:
        """Return the values to be written, with their texts."""
        ...


@dataclass(frozen=True)
class Linear:
    """Equal steps from `low` to `high`; `whole` has ticks on integers only.

    >>> [text for _, text in Linear(0, 100).ticks()]
    ['0', '20', '40', '60', '80', '100']
    """

    low: float
    high: float
    whole: bool = False

    @classmethod
    def around(cls, values: Iterable[float], least: float = -math.inf, most: float = math.inf) -> Linear:
        """Return an axis with a little room around the values, at least 1 long, within `least` to `most`."""
        found = list(values) or [0.0]
        room = max(0.06 * (max(found) - min(found)), 0.5 - 0.5 * (max(found) - min(found)))
        return cls(max(least, min(found) - room), min(most, max(found) + room))

    def place(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[tuple[float, str]]:
        span = self.high - self.low
        decade = 10.0 ** math.floor(math.log10(span / MOST_TICKS))
        step = next(decade * step for step in STEPS if span / (decade * step) <= MOST_TICKS)
        step = max(1.0, step) if self.whole else step
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        values = [number * step for number in range(first, last + 1)]
        return [(value, f"{value:.{digits}f}" if digits <= MOST_DIGITS else power(value)) for value in values]


@dataclass(frozen=True)
class Rates:
    """Decades, for rates at least 0: those above 0 on a logarithm, 0 before the first of them.

    >>> [text for _, text in Rates((0, 0.001, 0.1)).ticks()]
    ['0', '0.001', '0.01', '0.1']
    """

    rates: Sequence[float]

    @property
    def _above(self) -> list[float]:
        return sorted(rate for rate in self.rates if rate > 0) or [1.0]

    def place(self, value: float) -> float:
        above = self._above
        before = _ZERO if 0 in self.rates else 0.0
        decades = before + math.log10(above[-1] / above[0])
        if not decades:
            return 0.5
        if value < above[0]:
            return before * value / above[0] / decades
        return (before + math.log10(value / above[0])) / decades

    def ticks(self) -> list[tuple[float, str]]:
        above = self._above
        decades = range(math.floor(math.log10(above[0])), math.ceil(math.log10(above[-1])) + 1)
        steps = (1, 2, 5) if above[-1] / above[0] < 50 else (1,)
        every = [float(f"{step}e{decade}") for decade in decades for step in steps]
        inside = [number for number in every if above[0] * 0.999 <= number <= above[-1] * 1.001]
        shown = inside if len(inside) > 1 else above
        shown = shown[:: math.ceil(len(shown) / MOST_TICKS)]
        return [(rate, short(rate)) for rate in [0.0] * (0 in self.rates) + shown]


def power(number: float) -> str:
    """Return a number with its power of ten.

    >>> power(0.00015), power(1e-05), power(0)
    ('1.5e-4', '1e-5', '0')
    """
    mantissa, _, exponent = f"{number:.2e}".partition("e")
    return f"{float(mantissa):g}e{int(exponent)}" if number else "0"


def short(number: float) -> str:
    """Return a number in three digits, powers of ten without zeros.

    >>> short(0.0001234), short(1e-05), short(1234)
    ('0.000123', '1e-5', '1,234')
    """
    if number and abs(number) < 1e-4:
        return power(number)
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.3g}"
