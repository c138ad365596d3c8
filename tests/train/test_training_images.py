"""Which images are trained on, in which order, and what a network gets to see."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from bnnkit.data import load
from bnnkit.errors import MismatchError, UsageError
from bnnkit.train import Plan, Preparation
from bnnkit.train.images import TrainingImages, limited, network_shape

CPU = torch.device("cpu")


def images_of(plan: Plan) -> TrainingImages:
    return TrainingImages(plan.config, plan.dataset, (1, 8, 8), CPU)


def epoch_of(images: TrainingImages, epoch: int) -> list[list[int]]:
    images.batch(epoch, 0)
    return [batch.tolist() for batch in images._batches]


@pytest.mark.parametrize("batch", [2, 3, 50, 64, 128, 5000])
def test_every_epoch_uses_every_training_image_once(tiny: Callable[..., Plan], batch: int) -> None:
    images = images_of(tiny(batch=batch, limit=101))
    batches = epoch_of(images, 0)
    assert sorted(index for batch in batches for index in batch) == images.train.tolist()
    assert len(batches) == images.steps
    assert max(map(len, batches)) - min(map(len, batches)) <= 1
    assert min(map(len, batches)) >= 2
    assert max(map(len, batches)) <= max(batch, 3)


def test_order_depends_on_seed_and_epoch_only(tiny: Callable[..., Plan]) -> None:
    images = images_of(tiny())
    first = epoch_of(images, 0)
    assert epoch_of(images, 1) != first
    assert epoch_of(images, 0) == first
    assert epoch_of(images_of(tiny(seed=2)), 0) != first


def test_validation_images_are_never_trained_on(tiny: Callable[..., Plan]) -> None:
    images = images_of(tiny(limit=None))
    train, held_out = set(images.train.tolist()), set(images.validation.tolist())
    assert not train & held_out
    assert len(train | held_out) == 1437


def test_too_few_images_are_refused(tiny: Callable[..., Plan]) -> None:
    with pytest.raises(UsageError, match="1 training images; at least 2"):
        images_of(tiny(limit=3, val_split=2))


def test_a_limit_draws_from_the_whole_set() -> None:
    chosen = limited(10_000, 100)
    assert len(set(chosen.tolist())) == 100
    assert chosen.max() > 9_000 and chosen.min() < 1_000
    assert torch.equal(chosen, limited(10_000, 100))
    assert torch.equal(limited(5, 9), torch.arange(5))


def test_networks_take_images_in_a_shape_that_suits_them() -> None:
    assert network_shape("mlp", (1, 8, 8)) == (1, 8, 8)
    assert network_shape("res20", (1, 8, 8)) == (3, 32, 32)
    assert network_shape("res20", (1, 28, 28)) == (3, 32, 32)
    assert network_shape("vgg9", (3, 64, 64)) == (3, 64, 64)


def test_grey_images_become_colour_with_their_own_normalization() -> None:
    digits = load("digits")
    preparation = Preparation.of(digits, (3, 32, 32))
    inputs = preparation(digits.test.images[:5])
    assert inputs.shape == (5, 3, 32, 32)
    grey = Preparation.of(digits, (1, 8, 8))(digits.test.images[:5])
    assert torch.equal(inputs[:, 1, ::4, ::4], grey[:, 0])
    assert Preparation.from_metadata({"preparation": preparation.metadata()}, (3, 32, 32)) == preparation
    with pytest.raises(MismatchError, match="does not say how its images were normalized"):
        Preparation.from_metadata({}, (3, 32, 32))


@pytest.mark.parametrize("channels", [1, 3])
def test_every_byte_comes_back_from_the_input_of_a_network_that_reads_raw_pixels(channels: int) -> None:
    preparation = Preparation.of(load("digits"), (channels, 16, 16), normalized=False)
    stored = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    inputs = preparation(stored)
    assert inputs.shape == (1, channels, 16, 16)
    assert torch.equal((inputs * 255).round().to(torch.uint8), stored.expand_as(inputs))
    assert torch.equal(inputs[:, :1], stored.float() / 255)
    assert Preparation.from_metadata({"preparation": preparation.metadata()}, (channels, 16, 16)) == preparation


def test_augmentation_applies_to_training_images_only(tiny: Callable[..., Plan]) -> None:
    plain, moved = images_of(tiny(augment="none")), images_of(tiny(augment="crop-flip"))
    (x, labels), (y, same_labels) = plain.batch(0, 0), moved.batch(0, 0)
    assert x.dtype == y.dtype == torch.uint8
    assert torch.equal(labels, same_labels)
    assert not torch.equal(x, y)
    assert torch.equal(moved.batch(0, 0)[0], y)
