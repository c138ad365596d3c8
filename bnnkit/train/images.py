"""The images of a training, on its device: which are trained on, in which order, and what happens to each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from bnnkit.counter import permutation
from bnnkit.data import Dataset, fit_shape, normalize, validation_split
from bnnkit.data.augment import random_crop_flip
from bnnkit.errors import MismatchError, UsageError
from bnnkit.models import MODELS, create_model
from bnnkit.registry import Registry
from bnnkit.train.config import Config

Shape: TypeAlias = tuple[int, int, int]
Augmentation: TypeAlias = Callable[[Tensor, tuple[int, int, Tensor]], Tensor]

AUGMENTATIONS: Registry[Augmentation] = Registry("augmentation")

_ORDER_KEY = 0x0D3E
_LIMIT_KEY = 0x11417


@AUGMENTATIONS.register("crop-flip")
def crop_flip(images: Tensor, key: tuple[int, int, Tensor]) -> Tensor:
    """Return uint8 [B, C, H, W] images shifted by up to 4 pixels, every second one mirrored."""
    return random_crop_flip(images, pad=4, key=key)


@AUGMENTATIONS.register("reflect-crop-flip")
def reflect_crop_flip(images: Tensor, key: tuple[int, int, Tensor]) -> Tensor:
    """Return uint8 [B, C, H, W] images as `crop_flip` does, with the image itself reflected into the border."""
    return random_crop_flip(images, pad=4, border="reflect", key=key)


@AUGMENTATIONS.register("shift")
def shift(images: Tensor, key: tuple[int, int, Tensor]) -> Tensor:
    """Return uint8 [B, C, H, W] images shifted by up to 2 pixels: what handwriting allows."""
    return random_crop_flip(images, pad=2, mirror=False, key=key)


@AUGMENTATIONS.register("none")
def unchanged(images: Tensor, key: tuple[int, int, Tensor]) -> Tensor:
    """Return the images as they are."""
    return images


@dataclass(frozen=True)
class Preparation:
    """From stored images, uint8 [N, c, h, w], to a network's input, float32 [N, *shape]; stored in checkpoints."""

    shape: Shape
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, dataset: Dataset, shape: Shape, *, normalized: bool = True) -> Preparation:
        """Return the dataset's own normalization, repeated where grey images become colour.

        Args:
            normalized: whether the network expects that; otherwise inputs are pixel / 255, from which
                round(255 * input) gives every byte back.
        """
        if not normalized:
            return cls(shape, (0.0,) * shape[0], (1.0,) * shape[0])
        repeats = shape[0] // len(dataset.mean)
        return cls(shape, dataset.mean * repeats, dataset.std * repeats)

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any], shape: Shape) -> Preparation:
        """Read what `metadata` wrote into a checkpoint.

        Raises:
            MismatchError: the checkpoint does not say how its images were normalized.
        """
        try:
            found = metadata["preparation"]
            return cls(shape, tuple(map(float, found["mean"])), tuple(map(float, found["std"])))
        except (KeyError, TypeError, ValueError) as failure:
            raise MismatchError(
                "checkpoint: does not say how its images were normalized; needed a checkpoint written by bnnkit train",
                hint="bnnkit train --help",
            ) from failure

    def metadata(self) -> dict[str, Any]:
        return {"mean": list(self.mean), "std": list(self.std)}

    def fit(self, images: Tensor) -> Tensor:
        return fit_shape(images, self.shape)

    def normalize(self, images: Tensor) -> Tensor:
        return normalize(images, self.mean, self.std)

    def __call__(self, images: Tensor) -> Tensor:
        return self.normalize(self.fit(images))


class TrainingImages:
    """Training and validation images of one training, uint8 on its device.

    Batches depend on (seed, epoch, step) only. All images are used in every epoch: they are cut into batches whose
    sizes differ by at most one and are at most `config.batch`. They stay bytes, because every network that reads them
    has a normalization of its own.

    Args:
        shape: of the network's images.
    """

    def __init__(self, config: Config, dataset: Dataset, shape: Shape, device: torch.device) -> None:
        used = limited(len(dataset.train), config.limit)
        train, held_out = validation_split(len(used), config.val_split, config.seed)
        if len(train) < 2:
            raise UsageError(f"{len(train)} training images; at least 2 were needed", hint="give a larger --limit")
        self.split = dataset.train.to(device)
        self.train = used[train]
        self.validation = used[held_out]
        self.shape = shape
        self._config = config
        self._augment = AUGMENTATIONS.get(config.augment)
        self._device = device
        self._epoch = -1
        self._batches: tuple[Tensor, ...] = ()

    @property
    def steps(self) -> int:
        """Steps per epoch; batch normalization needs at least two images in each."""
        count = len(self.train)
        return min(-(-count // self._config.batch), count // 2)

    def batch(self, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        """Return augmented images, uint8 [B, *shape], and labels, int64 [B], of one step."""
        return self.augmented(self.indices(epoch, step), epoch)

    def indices(self, epoch: int, step: int) -> Tensor:
        """Return which training images a step sees, int64 [B]."""
        if epoch != self._epoch:
            order = self.train[permutation(len(self.train), self._config.seed, _ORDER_KEY, epoch)]
            self._epoch, self._batches = epoch, order.tensor_split(self.steps)
        return self._batches[step].to(self._device)

    def augmented(self, indices: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        """Return images, uint8 [B, *shape], as an epoch shows them, and their labels, int64 [B]."""
        images = fit_shape(self.split.images[indices], self.shape)
        return self._augment(images, (self._config.seed, epoch, indices)), self.split.labels[indices]


def limited(count: int, limit: int | None) -> Tensor:
    """Return the indices, ascending, of `limit` of `count` images drawn once and for all; all without a limit.

    They are drawn, not the first, because the images of a folder come class by class.

    >>> limited(3, None)
    tensor([0, 1, 2])
    """
    if limit is None or limit >= count:
        return torch.arange(count)
    return permutation(count, _LIMIT_KEY)[:limit].sort().values


def network_shape(model: str, images: Shape) -> Shape:
    """Return the input shape of the network `model` for images of this shape.

    A convolutional network keeps its usual size where the images fit into it; a network without convolutions takes
    them as they are, since enlarging would only repeat inputs.
    """
    usual = MODELS.get(model).in_shape
    if images == usual or not _convolutional(model):
        return images
    channels, height, width = images
    fits = channels in (1, usual[0]) and height <= usual[1] and width <= usual[2]
    return usual if fits else images


def _convolutional(model: str) -> bool:
    with torch.device("meta"):
        twin = create_model(model, ao_bit="fp", w_bit="fp", adc_bit="fp")
    return any(isinstance(layer, nn.Conv2d) for layer in twin.modules())
