"""Ranges of the converters: between which partial sums they tell values apart."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor

from bnnkit.atomic import write_text
from bnnkit.errors import MismatchError, MissingError, UsageError

VERSION = 1
FORMAT = "bnnkit.calibration"

Scope: TypeAlias = Literal["layer", "slice", "input-bit", "column"]
"""What has a range of its own; each includes those before it, columns all of them."""


def check_scope(scope: str) -> None:
    """Raise `UsageError` for anything that is no `Scope`."""
    if scope not in get_args(Scope):
        raise UsageError(f"calibration: per '{scope}'; one of {', '.join(get_args(Scope))} was needed", hint="slice")


@dataclass(frozen=True)
class Histogram:
    """How often each partial sum of a layer occurred.

    Attributes:
        counts: int64 [input bits, slices, columns, values]; one column where columns are not told apart.
        low: the partial sum of the first value, in units of 2^-`fraction` cell steps.
        fraction: binary digits of a partial sum after the point.
        arrays: partial sums that are added up for one output.
    """

    counts: Tensor
    low: int
    fraction: int
    arrays: int = 1

    @property
    def values(self) -> Tensor:
        """Partial sums in cell steps, float64 [values]."""
        units = torch.arange(self.counts.shape[-1], dtype=torch.float64) + self.low
        return units * 2.0**-self.fraction

    def __add__(self, other: Histogram) -> Histogram:
        """Return the counts of both; they belong to the same cells."""
        return Histogram(self.counts + other.counts, self.low, self.fraction, self.arrays)

    def pooled(self, scope: Scope) -> Tensor:
        """Return the counts of everything that shares a range: [input bits or 1, slices, columns or 1, values]."""
        counts = self.counts
        over = {"layer": (0, 1, 2), "slice": (0, 2), "input-bit": (2,), "column": ()}[scope]
        pooled = counts.sum(over, keepdim=True) if over else counts
        # A layer's slices keep a place each: they mean different numbers of cell steps in the result.
        return pooled.expand(-1, counts.shape[1], -1, -1)

    def clipped(self, low: Tensor, high: Tensor) -> float:
        """Return the share of partial sums outside [low, high], each broadcast to [input bits, slices, columns]."""
        values = self.values
        outside = (values < low.double()[..., None]) | (values > high.double()[..., None])
        return float((self.counts * outside).sum() / self.counts.sum().clamp(min=1))


def aligned(least: Tensor, most: Tensor, adc_bit: int, resolution: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return (low, high) whose levels low + code * (high - low) / 2^k reach from `least` to `most`, 0 among them.

    Partial sums are 0 more often than anything else: half a step of error there would add up over all arrays. A step is
    at least `resolution`, what partial sums differ by.
    """
    step = ((most - least) / (2**adc_bit - 1)).clamp(min=resolution)
    low = (least / step).round() * step
    return low, low + step * 2**adc_bit


@dataclass(frozen=True)
class Method:
    """How a range follows from a histogram: "max", "percentile:P", "mse" or "sigma:K".

    - max: the smallest and the largest partial sum that occurred.
    - percentile:P: the values that P % of the partial sums lie between.
    - mse: the range with the least squared error of what an output's conversions add up to.
    - sigma:K: mean +- K standard deviations.

    Raises:
        UsageError: for anything else.

    >>> Method.parse("percentile:99.9").parameter
    99.9
    """

    name: Literal["max", "percentile", "mse", "sigma"]
    parameter: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Method:
        name, _, number = text.partition(":")
        usual = {"max": "0", "mse": "0", "percentile": "99.9", "sigma": "4"}
        try:
            parameter = float(number or usual[name])
        except (KeyError, ValueError):
            raise UsageError(
                f"calibration '{text}'; max, percentile:P, mse or sigma:K was needed", hint="use mse"
            ) from None
        most = {"percentile": 100, "sigma": 1e9}.get(name)
        inside = not number if most is None else 0 < parameter <= most
        if not inside:
            raise UsageError(f"calibration '{text}': impossible number", hint="percentile:99.9 or sigma:4")
        return cls(name, parameter)  # type: ignore[arg-type]

    def __str__(self) -> str:
        return f"{self.name}:{self.parameter:g}" if self.parameter else self.name

    def bounds(self, values: Tensor, counts: Tensor, adc_bit: int, arrays: int = 1) -> tuple[Tensor, Tensor]:
        """Return the ranges of histograms [groups, values]: two float64 [groups]."""
        resolution = _resolution(values)
        weights = counts.double() / counts.sum(1, keepdim=True).clamp(min=1)
        low, high = _quantiles(values, weights, 0.0)
        if self.name == "percentile":
            low, high = _quantiles(values, weights, (1 - self.parameter / 100) / 2)
        if self.name == "sigma":
            mean = (weights * values).sum(1)
            spread = self.parameter * ((weights * values**2).sum(1) - mean**2).clamp(min=0).sqrt()
            low, high = mean - spread, mean + spread
        if self.name == "mse":
            return _least_error(values, weights, adc_bit, arrays)
        return aligned(low, high, adc_bit, resolution)


def _quantiles(values: Tensor, weights: Tensor, tail: float) -> tuple[Tensor, Tensor]:
    below = weights.cumsum(1)
    first = (below > tail + 1e-12).int().argmax(1)
    last = (below >= 1 - tail - 1e-12).int().argmax(1)
    return values[first], values[last]


_TAILS = (0.0, 1e-4, 1e-3, 1e-2)
_STEPS = 16
_WINDOWS = 5


def _least_error(values: Tensor, weights: Tensor, adc_bit: int, arrays: int) -> tuple[Tensor, Tensor]:
    """Search the range whose error, added up over `arrays` conversions, is smallest: variance plus arrays * bias^2.

    Tried are spans that leave out some share at both ends, steps that cover them or less, whole multiples of what
    partial sums differ by among them (others let small sums all err to the same side), and places inside the span.
    """
    top, resolution = 2**adc_bit - 1, _resolution(values)
    best = torch.full(weights.shape[:1], float("inf"), dtype=torch.float64)
    best_low, best_high = torch.zeros_like(best), torch.ones_like(best)
    for tail in _TAILS:
        low, high = _quantiles(values, weights, tail)
        coarsest = ((high - low) / top).clamp(min=resolution)
        for share in torch.linspace(1, 0.1, _STEPS, dtype=torch.float64):
            fine = (coarsest * share).clamp(min=resolution)
            for step in (fine, (fine / resolution).ceil() * resolution):
                spare = (high - low - top * step).clamp(min=0)
                for position in torch.linspace(0, 1, _WINDOWS, dtype=torch.float64):
                    lower = ((low + spare * position) / step).round() * step
                    total = _error(values, weights, lower, step, top, arrays)
                    better = total < best
                    best = torch.where(better, total, best)
                    best_low = torch.where(better, lower, best_low)
                    best_high = torch.where(better, lower + step * 2**adc_bit, best_high)
    return best_low, best_high


def _error(values: Tensor, weights: Tensor, low: Tensor, step: Tensor, top: int, arrays: int) -> Tensor:
    code = ((values - low[:, None]) / step[:, None]).round().clamp(0, top)
    error = code * step[:, None] + low[:, None] - values
    bias = (weights * error).sum(1)
    return (weights * error**2).sum(1) - bias**2 + arrays * bias**2


def _resolution(values: Tensor) -> float:
    return float(values[1] - values[0]) if len(values) > 1 else 1.0


@dataclass(frozen=True)
class Ranges:
    """Ranges of all converters of a network, as `bnnkit calibrate` writes them.

    Attributes:
        bounds: layer name -> (low, high), float64 [input bits or 1, slices, columns or 1] in cell steps.
        metadata: where they come from; "arrays" names the arrays, cells and encoding they hold for.
    """

    bounds: Mapping[str, tuple[Tensor, Tensor]]
    metadata: Mapping[str, Any]

    @classmethod
    def from_histograms(
        cls,
        histograms: Mapping[str, Histogram],
        method: Method,
        scope: Scope,
        adc_bit: int,
        metadata: Mapping[str, Any],
    ) -> Ranges:
        """Choose the range of every converter."""
        check_scope(scope)
        bounds = {}
        for name, histogram in histograms.items():
            counts = histogram.pooled(scope)
            groups = counts.reshape(-1, counts.shape[-1])
            low, high = method.bounds(histogram.values, groups, adc_bit, histogram.arrays)
            bounds[name] = (low.view(counts.shape[:-1]), high.view(counts.shape[:-1]))
        chosen = {"method": str(method), "scope": scope, "adc_bit": adc_bit}
        return cls(bounds, {**metadata, **chosen})

    def save(self, path: Path | str) -> None:
        """Write a calibration file (JSON)."""
        layers = {name: {"low": low.tolist(), "high": high.tolist()} for name, (low, high) in self.bounds.items()}
        document = {"format": FORMAT, "version": VERSION, **self.metadata, "layers": layers}
        write_text(Path(path), json.dumps(document, indent=1) + "\n")

    @classmethod
    def load(cls, path: Path | str) -> Ranges:
        """Read a calibration file.

        Raises:
            MissingError: there is none.
            MismatchError: it is damaged, or of a newer version.
        """
        file = Path(path)
        try:
            document = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise MissingError(f"{file}: does not exist; a calibration was needed", hint="bnnkit calibrate") from None
        except (OSError, ValueError) as failure:
            raise MismatchError(f"{file}: no calibration file ({failure})", hint="bnnkit calibrate") from failure
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise MismatchError(f"{file}: not a calibration file", hint="bnnkit calibrate")
        if document.get("version") != VERSION:
            raise MismatchError(
                f"{file}: version {document.get('version')}; {VERSION} was needed", hint="bnnkit calibrate"
            )
        try:
            bounds = {
                name: _checked(_bound(layer["low"]), _bound(layer["high"]))
                for name, layer in document.pop("layers").items()
            }
        except (KeyError, TypeError, ValueError, AttributeError) as failure:
            raise MismatchError(f"{file}: damaged ({failure!r})", hint="bnnkit calibrate") from failure
        return cls(bounds, {key: value for key, value in document.items() if key not in ("format", "version")})


def _bound(values: list[list[list[float]]]) -> Tensor:
    bound = torch.tensor(values, dtype=torch.float64)
    if bound.dim() != 3 or not bool(bound.isfinite().all()):
        raise ValueError("bounds [input bits, slices, columns] were needed")
    return bound


def _checked(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    if low.shape != high.shape or not bool((low < high).all()):
        raise ValueError("low < high of one shape were needed")
    return low, high
