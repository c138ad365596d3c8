"""What a chip would do: counts of operations by kind."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Operations:
    """Operations on one image.

    Attributes:
        binary_macs: products of two bits that are counted: an exclusive-or each, and its share of a population count.
        additions: of integers or floats of several bits; subtractions too.
        shifts: by constants that differ between channels.
        comparisons: with thresholds, with 0, or of two values.
        multiplications: of integers or floats of several bits; divisions too.
        conversions: of analog partial sums.

    >>> Operations(additions=1) + Operations(additions=2, shifts=3)
    Operations(binary_macs=0, additions=3, shifts=3, comparisons=0, multiplications=0, conversions=0)
    """

    binary_macs: int = 0
    additions: int = 0
    shifts: int = 0
    comparisons: int = 0
    multiplications: int = 0
    conversions: int = 0

    @classmethod
    def of(cls, counted: Any) -> Operations:
        """Read the counts of a compiled step."""
        return cls(**{item.name: getattr(counted, item.name) for item in fields(cls)})

    def __add__(self, other: Operations) -> Operations:
        return Operations(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))
