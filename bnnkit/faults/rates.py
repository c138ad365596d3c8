"""Rates of faults as a person writes them."""

from __future__ import annotations

import decimal
import math
import re
from decimal import Decimal

from bnnkit.errors import UsageError

MOST_RATES = 1000
"""In one range: more is a typing error."""

_EXAMPLE = "1e-5:1e-1:log9"


def parse_rates(text: str) -> list[float]:
    """Return the rates, or standard deviations, that a person means by a number, several with commas, or a range.

        A:B:logN    A * (B / A)^(i / (N - 1)),    i = 0 .. N - 1
        A:B:linN    A + (B - A) * i / (N - 1)

    They are returned in rising order, as curves and knees need them. Ranges include both ends. They are computed in
    decimal and rounded once, so that 0.001 is 0.001 in each of them, on every machine.

    Raises:
        UsageError: not written like that, a negative rate, one twice, a range that does not rise, a logarithmic one
            from 0, fewer than 2 rates in a range or more than MOST_RATES.

    >>> parse_rates("1e-5:1e-1:log9")  # doctest: +NORMALIZE_WHITESPACE
    [1e-05, 3.1622776601683795e-05, 0.0001, 0.00031622776601683794, 0.001, 0.0031622776601683794, 0.01,
     0.03162277660168379, 0.1]
    >>> parse_rates("0:0.3:lin4"), parse_rates("0.1, 0.01")
    ([0.0, 0.1, 0.2, 0.3], [0.01, 0.1])
    """
    rates = _range(text) if ":" in text else [_number(part, text) for part in text.split(",")]
    if len(set(rates)) < len(rates):
        raise UsageError(f"rates '{text}': one of them twice; different rates were needed", hint=_EXAMPLE)
    return sorted(rates)


def _range(text: str) -> list[float]:
    parts = text.split(":")
    spacing = re.fullmatch(r"\s*(log|lin)([0-9]{1,9})\s*", parts[-1], re.ASCII)
    if len(parts) != 3 or spacing is None:
        raise UsageError(
            f"rates '{text}': FIRST:LAST:logN or FIRST:LAST:linN was needed, N the number of rates", hint=_EXAMPLE
        )
    first, last, count = _number(parts[0], text), _number(parts[1], text), int(spacing[2])
    if not 2 <= count <= MOST_RATES:
        raise UsageError(f"rates '{text}': {count} of them; 2 to {MOST_RATES} were needed", hint=_EXAMPLE)
    if first >= last:
        raise UsageError(f"rates '{text}': {first:g} to {last:g}; a range that rises was needed", hint=_EXAMPLE)
    if spacing[1] == "log" and first == 0:
        raise UsageError(
            f"rates '{text}': logarithmic steps from 0; a first rate above 0 was needed",
            hint=f"{first:g}:{last:g}:lin{count}",
        )
    # Through the shortest text of a float, which is the number as it was written.
    low, high = Decimal(repr(first)), Decimal(repr(last))
    with decimal.localcontext(decimal.Context(prec=60)):
        shares = [Decimal(number) / (count - 1) for number in range(1, count - 1)]
        if spacing[1] == "log":
            inner = [low * (high / low) ** share for share in shares]
        else:
            inner = [low + (high - low) * share for share in shares]
    return [first, *map(float, inner), last]


def _number(part: str, text: str) -> float:
    try:
        number = float(part)
    except ValueError:
        raise UsageError(f"rates '{text}': '{part.strip()}' is not a number", hint=_EXAMPLE) from None
    if not 0 <= number < math.inf:
        raise UsageError(f"rates '{text}': {part.strip()}; a number of at least 0 was needed", hint=_EXAMPLE)
    return abs(number)  # -0.0 is at least 0
