from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bnnkit.data.augment import random_crop_flip
from bnnkit.errors import UsageError

from .conftest import random_bytes
from .test_counter import oracle


def crop_flip_one(image, pad: int, seed: int, epoch: int, index: int):
    """Pad, crop and mirror one image pixel by pixel."""
    height, width = image.shape[1:]
    down, right = (oracle(seed, epoch, draw, index) * (2 * pad + 1) >> 32 for draw in (0, 1))
    flip = oracle(seed, epoch, 2, index) >> 31
    result = torch.zeros_like(image)
    for y in range(height):
        for x in range(width):
            from_y = y + down - pad
            from_x = (width - 1 - x if flip else x) + right - pad
            if 0 <= from_y < height and 0 <= from_x < width:
                result[:, y, x] = image[:, from_y, from_x]
    return result


@given(
    st.integers(1, 4), st.integers(1, 3), st.integers(1, 7), st.integers(1, 7), st.integers(0, 5), st.integers(0, 999)
)
def test_equals_the_pixel_by_pixel_definition(batch, channels, height, width, pad, seed):
    images = torch.from_numpy(random_bytes(seed, batch, channels, height, width))
    indices = torch.arange(batch) * 7 + seed
    got = random_crop_flip(images, pad=pad, key=(seed, 3, indices))
    for image, index, result in zip(images, indices.tolist(), got, strict=True):
        assert torch.equal(result, crop_flip_one(image, pad, seed, 3, index))


def reflect_crop_flip_one(image, pad: int, seed: int, epoch: int, index: int):
    """Pad by reflection with NumPy, crop and mirror."""
    height, width = image.shape[1:]
    down, right = (oracle(seed, epoch, draw, index) * (2 * pad + 1) >> 32 for draw in (0, 1))
    padded = np.pad(image.numpy(), ((0, 0), (pad, pad), (pad, pad)), mode="reflect")
    cropped = padded[:, down : down + height, right : right + width]
    return torch.from_numpy((cropped[:, :, ::-1] if oracle(seed, epoch, 2, index) >> 31 else cropped).copy())


@given(
    st.integers(1, 4), st.integers(1, 3), st.integers(5, 9), st.integers(5, 9), st.integers(0, 4), st.integers(0, 999)
)
def test_a_reflected_border_equals_that_of_numpy(batch, channels, height, width, pad, seed):
    images = torch.from_numpy(random_bytes(seed, batch, channels, height, width))
    indices = torch.arange(batch) * 7 + seed
    got = random_crop_flip(images, pad=pad, border="reflect", key=(seed, 3, indices))
    for image, index, result in zip(images, indices.tolist(), got, strict=True):
        assert torch.equal(result, reflect_crop_flip_one(image, pad, seed, 3, index))


def test_both_borders_take_the_same_crop():
    images = torch.from_numpy(random_bytes(0, 50, 1, 16, 16)).clamp_min(1)
    key = (4, 2, torch.arange(50))
    black, reflected = random_crop_flip(images, key=key), random_crop_flip(images, border="reflect", key=key)
    assert torch.equal(black[black > 0], reflected[black > 0])
    assert (black == 0).any() and reflected.min() > 0


def test_images_too_small_to_be_reflected_are_refused():
    with pytest.raises(UsageError, match="4x9 pixels reflected 4 deep"):
        random_crop_flip(torch.zeros(1, 1, 4, 9, dtype=torch.uint8), border="reflect", key=(0, 0, torch.arange(1)))


def test_same_crop_in_any_batch_and_with_any_number_of_threads():
    images = torch.from_numpy(random_bytes(0, 64, 3, 32, 32))
    together = random_crop_flip(images, key=(1, 2, torch.arange(64)))
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    for size in (1, 7):
        for part in order.split(size):
            assert torch.equal(random_crop_flip(images[part], key=(1, 2, part)), together[part])
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert torch.equal(random_crop_flip(images, key=(1, 2, torch.arange(64))), together)
    finally:
        torch.set_num_threads(threads)


def test_epochs_seeds_and_images_differ_and_the_input_stays():
    image = torch.from_numpy(random_bytes(0, 1, 3, 32, 32))
    images = image.expand(81, -1, -1, -1)
    before = image.clone()
    first = random_crop_flip(images, key=(0, 0, torch.arange(81)))
    assert len(first.flatten(1).unique(dim=0)) > 50
    assert not torch.equal(first, random_crop_flip(images, key=(0, 1, torch.arange(81))))
    assert not torch.equal(first, random_crop_flip(images, key=(1, 0, torch.arange(81))))
    assert torch.equal(image, before)


def test_one_index_per_image():
    with pytest.raises(ValueError, match=r"\(3,\) indices for 2 images"):
        random_crop_flip(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), key=(0, 0, torch.arange(3)))
