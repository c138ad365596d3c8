"""Ranges of a chip's converters from training images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from bnnkit.cim import Chip, Histogram, Method, Ranges
from bnnkit.cim.ranges import Scope
from bnnkit.data import Dataset
from bnnkit.errors import UsageError
from bnnkit.nn import arrays_of, observe
from bnnkit.train.images import Preparation, limited
from bnnkit.train.precision import repeatable

IMAGES = 128
_BATCH = 32


def histograms(
    model: nn.Module, chip: Chip, images: Tensor, preparation: Preparation, *, by_column: bool = False
) -> dict[str, Histogram]:
    """Count the partial sums of every layer for stored images, uint8 [N, C, H, W]."""

    def batches() -> Iterator[Tensor]:
        for part in images.split(_BATCH):
            yield preparation(part)

    model.eval()
    with repeatable(model):
        return observe(model, chip, batches(), by_column=by_column)


def calibration_images(dataset: Dataset, count: int) -> Tensor:
    """Return `count` training images, drawn once and for all, as they are stored.

    Raises:
        UsageError: there are not so many.
    """
    if not 1 <= count <= len(dataset.train):
        raise UsageError(
            f"calibration: {count} images; 1 to {len(dataset.train)} training images were needed", hint="use 128"
        )
    return dataset.train.images[limited(len(dataset.train), count)]


def calibrate(
    model: nn.Module,
    chip: Chip,
    dataset: Dataset,
    preparation: Preparation,
    *,
    method: Method,
    scope: Scope = "slice",
    count: int = IMAGES,
    metadata: dict[str, Any] | None = None,
) -> Ranges:
    """Choose the ranges of a chip's converters in one pass over training images.

    Args:
        method, scope: see `bnnkit.cim.ranges`.
        count: training images.
        metadata: what the file should say about the network.
    """
    if chip.adc_bit == "fp":
        raise UsageError("calibration: no converters; 1 to 8 bits were needed", hint="--adc-bit 6")
    images = calibration_images(dataset, count)
    found = histograms(model, chip, images, preparation, by_column=scope == "column")
    noted = {"arrays": arrays_of(chip), "dataset": dataset.name, "images": count, **(metadata or {})}
    return Ranges.from_histograms(found, method, scope, chip.adc_bit, noted)
