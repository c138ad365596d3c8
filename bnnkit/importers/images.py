"""The images that a checkpoint was trained on: their size, and the normalization its origin gave them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bnnkit.data import DATASETS, load
from bnnkit.data.record import EMBEDDED, IMAGENET_MEAN, IMAGENET_STD
from bnnkit.importers.origin import ORIGINS
from bnnkit.models import MODELS
from bnnkit.models.base import Shape

IMAGENET = "imagenet"
"""Known here by its published numbers; its images are prepared from a folder."""


@dataclass(frozen=True)
class Images:
    """What is known of a dataset; `mean` and `std`, per channel, belong to images scaled to 0..1."""

    name: str
    classes: int
    shape: Shape
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def fit(self, shape: Shape) -> bool:
        """Return whether they can be brought to a shape without losing a pixel."""
        return self.shape[0] in (1, shape[0]) and self.shape[1] <= shape[1] and self.shape[2] <= shape[2]

    def preparation(self, model: str, channels: int) -> dict[str, list[float]]:
        """Return the entry "preparation" of a checkpoint: mean and std of every input channel of `model`."""
        if not MODELS.get(model).normalized:
            return unnormalized(channels)
        repeats = channels // len(self.mean)
        return {"mean": list(self.mean * repeats), "std": list(self.std * repeats)}


def unnormalized(channels: int) -> dict[str, list[float]]:
    """Return the entry "preparation" of networks that take pixel / 255."""
    return {"mean": [0.0] * channels, "std": [1.0] * channels}


def of_dataset(name: str, origin: str, data_dir: Path | None = None) -> Images:
    """Return the images of a dataset as `origin` normalized them.

    Raises:
        UsageError, MissingError: as `bnnkit.data.load`, for datasets of which nothing is known before they are opened.
    """
    known = next((images for images in published(origin) if images.name == name), None)
    if known is not None:
        return known
    dataset = load(name, data_dir=data_dir)
    channels, height, width = dataset.train.images.shape[1:]
    return Images(name, len(dataset.classes), (channels, height, width), dataset.mean, dataset.std)


def published(origin: str) -> Iterator[Images]:
    """Yield the datasets with known numbers of classes, sizes and normalizations."""
    own = ORIGINS.get(origin).statistics
    for name in DATASETS:
        record = DATASETS.get(name)
        mean, std = own.get(name, (record.mean, record.std))
        if name == EMBEDDED:
            dataset = load(name)
            mean, std = dataset.mean, dataset.std
        if mean is not None and std is not None:
            yield Images(name, len(record.classes), record.shape, mean, std)
    yield Images(IMAGENET, 1000, (3, 224, 224), IMAGENET_MEAN, IMAGENET_STD)
