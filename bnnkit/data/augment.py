"""Augmentation of whole batches of uint8 images, on whatever device they are."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from bnnkit.counter import uniform_int
from bnnkit.errors import UsageError

Border: TypeAlias = Literal["black", "reflect"]

_DRAWS = {"down": 0, "right": 1, "flip": 2}


def random_crop_flip(
    images: Tensor, *, pad: int = 4, mirror: bool = True, border: Border = "black", key: tuple[int, int, Tensor]
) -> Tensor:
    """Shift each image by up to `pad` pixels and mirror every second one.

    The usual CIFAR augmentation: a crop of the original size out of the image padded by `pad` on each side; without
    `mirror` it also suits digits. What comes in at the border is black, or the image reflected at its outermost pixels.
    `key` = (seed, epoch, indices), indices int64 [B] numbering the images within the dataset: image i of epoch e
    gets the same crop in any batch, on any device, with any number of threads.

    Args:
        images: uint8 [B, C, H, W].

    Returns:
        uint8 [B, C, H, W], a new tensor.

    Raises:
        ValueError: not one index per image.
        UsageError: images too small to be reflected.

    Example:
        >>> images = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
        >>> random_crop_flip(images, key=(0, 1, torch.tensor([5, 9]))).shape
        torch.Size([2, 3, 32, 32])
    """
    seed, epoch, indices = key
    batch, channels, height, width = images.shape
    if indices.shape != (batch,):
        raise ValueError(f"random_crop_flip: {tuple(indices.shape)} indices for {batch} images; needed one per image")
    if border == "reflect" and pad >= min(height, width):
        raise UsageError(
            f"augmentation: images of {height}x{width} pixels reflected {pad} deep; needed more than {pad} pixels",
            hint="--augment crop-flip",
        )
    device = images.device
    indices = indices.to(device)
    down, right = (uniform_int(2 * pad + 1, seed, epoch, _DRAWS[draw], indices) for draw in ("down", "right"))
    flip = uniform_int(2, seed, epoch, _DRAWS["flip"], indices).bool()
    # Positions in the padded image.
    rows = down[:, None] + torch.arange(height, device=device)
    across = torch.arange(width, device=device).expand(batch, width)
    columns = right[:, None] + torch.where(flip[:, None] & mirror, width - 1 - across, across)
    if border == "reflect":
        rows, columns = _reflected(rows - pad, height), _reflected(columns - pad, width)
        padded, stride = images, width
    else:
        padded, stride = F.pad(images, (pad, pad, pad, pad)), width + 2 * pad
    # One gather over pixel positions, the same for all channels.
    positions = (rows[:, :, None] * stride + columns[:, None, :]).reshape(batch, 1, height * width)
    cropped = padded.flatten(2).gather(2, positions.expand(batch, channels, height * width))
    return cropped.view(batch, channels, height, width)


def _reflected(positions: Tensor, size: int) -> Tensor:
    """Return the pixels, 0 to size - 1, seen at positions up to size - 1 beyond both ends of a row."""
    return size - 1 - (size - 1 - positions.abs()).abs()
