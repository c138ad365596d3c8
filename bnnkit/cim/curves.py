"""Converter curves: what a partial sum becomes, and the gradient that stands in for the staircase's own."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from bnnkit import reference
from bnnkit.errors import UsageError
from bnnkit.registry import Registry

FINEST_GRID = 65535
"""Steps of the grid that measured output levels are rounded to: 2^16 codes summed over 2^15 arrays fit an int32."""


class Curve(Hashable, Protocol):
    """A staircase: ascending integer levels, a scale and an offset, and a code for every partial sum.

    converted(ps) = offset + scale * levels[code(ps)]
    """

    @property
    def levels(self) -> tuple[int, ...]: ...

    @property
    def scale(self) -> float: ...

    @property
    def offset(self) -> float: ...

    def code(self, ps: Tensor) -> Tensor:
        """Return the output code 0 .. L-1 (int64) of each float32 partial sum."""
        ...

    def impulses(self, ps: Tensor, sigma: float) -> Tensor:
        """Return the impulse gradient (float32) at each partial sum; `sigma` in units of the partial sum."""
        ...


CURVES: Registry[type[Curve]] = Registry("converter curve")


@CURVES.register("uniform")
@dataclass(frozen=True)
class UniformCurve:
    """2- to 4-bit uniform converter: -R + D*floor((ps + D/2 + R)/D), D = 2R/(2^bits - 1), saturating at +-R."""

    bits: int
    rows: int

    @property
    def levels(self) -> tuple[int, ...]:
        # Odd and symmetric, so that opposite conversions cancel to exactly 0.
        top = 2**self.bits - 1
        return tuple(range(-top, top + 1, 2))

    @property
    def scale(self) -> float:
        return self.rows / ((1 << self.bits) - 1)

    @property
    def offset(self) -> float:
        return 0.0

    def code(self, ps: Tensor) -> Tensor:
        return reference.adc_code(ps, self.bits, self.rows).long()

    def impulses(self, ps: Tensor, sigma: float) -> Tensor:
        return reference.adc_gradient(ps, self.bits, self.rows, sigma)


@CURVES.register("sense-amplifier")
@dataclass(frozen=True)
class SenseAmplifier(UniformCurve):
    """1-bit converter: +R where ps > 0, else -R (so a tie reads as -R)."""

    bits: int = 1
    rows: int = 128


@CURVES.register("table")
@dataclass(frozen=True)
class TableCurve:
    """Arbitrary converter: a partial sum that reaches thresholds[j] reads outputs[j+1]; below all, outputs[0].

    Outputs need not be ordered or equally spaced. They are stored as integers on a grid: exactly, where all of them
    lie on one of at most 255 equal steps of their span, otherwise on 65535 steps. The impulse gradient is the sum of
    one Gaussian per threshold, weighted with the height of its step.
    """

    edges: tuple[float, ...]
    outputs: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.outputs) != len(self.edges) + 1 or not self.edges:
            raise UsageError(
                f"converter table: {len(self.edges)} thresholds and {len(self.outputs)} levels; "
                "n thresholds and n + 1 levels with n >= 1 were needed",
                hint="give one level more than thresholds",
            )
        numbers = torch.tensor(self.edges + self.outputs)
        if not bool(torch.isfinite(numbers).all()):
            raise UsageError("converter table: not all thresholds and levels are finite", hint="remove nan and inf")
        if any(b <= a for a, b in zip(self.edges, self.edges[1:], strict=False)):
            raise UsageError("converter table: thresholds are not strictly ascending", hint="sort the thresholds")

    @property
    def offset(self) -> float:
        return min(self.outputs)

    @cached_property
    def _steps(self) -> int:
        span = max(self.outputs) - self.offset
        for steps in range(1, 256):
            grid = [(v - self.offset) / span * steps for v in self.outputs] if span else []
            if all(abs(g - round(g)) < 1e-6 for g in grid):
                return steps
        return FINEST_GRID

    @property
    def scale(self) -> float:
        return (max(self.outputs) - self.offset) / self._steps

    @cached_property
    def levels(self) -> tuple[int, ...]:
        scale = self.scale
        return tuple(round((v - self.offset) / scale) if scale else 0 for v in self.outputs)

    def code(self, ps: Tensor) -> Tensor:
        edges = torch.tensor(self.edges, dtype=torch.float32, device=ps.device)
        codes: Tensor = torch.bucketize(ps.detach().float(), edges, right=True)
        return codes

    def impulses(self, ps: Tensor, sigma: float) -> Tensor:
        total = torch.zeros_like(ps, dtype=torch.float32)
        for j, edge in enumerate(self.edges):
            height = self.scale * (self.levels[j + 1] - self.levels[j])
            total += height * reference.gaussian(ps.float() - edge, sigma)
        return total
