"""A trained low-precision network on chips of several kinds, beside the same network in software."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from torch import Tensor

from bnnkit.cim import Chip, Histogram, Method, Ranges
from bnnkit.cim.ranges import Scope, check_scope
from bnnkit.data import Dataset
from bnnkit.models import Model
from bnnkit.nn import arrays_of, conversions_per_image, program
from bnnkit.train.calibration import calibration_images, histograms
from bnnkit.train.evaluation import Evaluation, evaluate
from bnnkit.train.images import Preparation

CLIP_IMAGES = 32
"""Test images whose partial sums are compared with the converters' ranges."""


@dataclass(frozen=True)
class ChipResult:
    """What chips of one kind made of the images.

    Attributes:
        evaluations: one per chip.
        clipped: share of the partial sums beyond the converters' levels; None without static ranges.
        conversions: of one image.
    """

    chip: Chip
    evaluations: tuple[Evaluation, ...]
    clipped: float | None
    conversions: int

    @property
    def accuracy(self) -> float:
        return mean(found.score.accuracy for found in self.evaluations)

    @property
    def spread(self) -> float | None:
        """Standard deviation of the accuracy from chip to chip; None for one chip."""
        accuracies = [found.score.accuracy for found in self.evaluations]
        return stdev(accuracies) if len(accuracies) > 1 else None


class ChipTrials:
    """Evaluate one network on many chips; what they share is computed once.

    Args:
        model: with its weights, in evaluation mode.
        ranges: "full", "batch", a `Method`, or the path of a calibration file.
        scope: what has a range of its own, where a method chooses them.
        count: training images to choose them from.
        indices: test images.
    """

    def __init__(
        self,
        model: Model,
        dataset: Dataset,
        preparation: Preparation,
        indices: Tensor,
        *,
        ranges: str = "mse",
        scope: Scope = "slice",
        count: int = 128,
        batch: int = 256,
    ) -> None:
        self.model, self.dataset, self.preparation, self.indices = model, dataset, preparation, indices
        self.scope, self.count, self.batch = scope, count, batch
        check_scope(scope)
        self._fixed = Ranges.load(ranges) if is_file(ranges) else None
        self._method = None if ranges in ("full", "batch") or self._fixed else Method.parse(ranges)
        self._ranges = ranges
        self._seen: dict[tuple[Any, ...], dict[str, Histogram]] = {}

    def software(self, each: Callable[[int], None] = lambda done: None) -> Evaluation:
        """Evaluate the network without arrays."""
        program(self.model, None)
        return self._evaluate(each)

    def on(self, chip: Chip, chips: int = 1, each: Callable[[int], None] = lambda done: None) -> ChipResult:
        """Evaluate the network on `chips` chips that differ by their seed only, from that of `chip` on."""
        ranges = self.ranges_for(chip)
        evaluations, conversions = [], 0
        for number in range(chips):
            program(self.model, replace(chip, seed=chip.seed + number), ranges)
            if not number:
                conversions = conversions_per_image(self.model, self._images(1))
            done_before = number * len(self.indices)
            evaluations.append(self._evaluate(lambda done, before=done_before: each(before + done)))  # type: ignore[misc]
        clipped = self._clipped(chip, ranges)
        program(self.model, None)
        return ChipResult(chip, tuple(evaluations), clipped, conversions)

    def ranges_for(self, chip: Chip) -> Any:
        """Return the ranges of a chip's converters, as `bnnkit.nn.program` takes them."""
        if self._fixed is not None:
            return self._fixed
        if self._method is None or chip.adc_bit == "fp" or chip.curve is not None:
            return "batch" if self._ranges == "batch" else "full"
        images = calibration_images(self.dataset, self.count)
        seen = self._histograms("training", chip, images, by_column=self.scope == "column")
        return Ranges.from_histograms(seen, self._method, self.scope, chip.adc_bit, {"arrays": arrays_of(chip)})

    def _histograms(self, which: str, chip: Chip, images: Tensor, *, by_column: bool) -> dict[str, Histogram]:
        key = (which, replace(chip, adc_bit=1), by_column)
        if key not in self._seen:
            self._seen[key] = histograms(self.model, chip, images, self.preparation, by_column=by_column)
        return self._seen[key]

    def _clipped(self, chip: Chip, ranges: Any) -> float | None:
        if not isinstance(ranges, Ranges) or chip.adc_bit == "fp":
            return None
        by_column = any(low.shape[2] > 1 for low, _ in ranges.bounds.values())
        images = self.dataset.test.images[self.indices[:CLIP_IMAGES]]
        outside, total = 0.0, 0
        for name, seen in self._histograms("test", chip, images, by_column=by_column).items():
            low, high = ranges.bounds[name]
            half = (high - low) / 2**chip.adc_bit / 2
            conversions = int(seen.counts.sum())
            outside += conversions * seen.clipped(low - half, high - half)
            total += conversions
        return outside / total

    def _images(self, count: int) -> Tensor:
        return self.preparation(self.dataset.test.images[self.indices[:count]])

    def _evaluate(self, each: Callable[[int], None]) -> Evaluation:
        with torch.inference_mode():
            return evaluate(self.model, self.dataset.test, self.indices, self.preparation, batch=self.batch, each=each)


def is_file(ranges: str) -> bool:
    """Return whether a person who wrote this for ranges means a calibration file."""
    return ranges.endswith(".json") or Path(ranges).is_file()
