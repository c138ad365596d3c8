"""Augmentation of whole batches of uint8 images, on whatever device they are."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bnnkit.counter import uniform_int

_DRAWS = {"down": 0, "right": 1, "flip": 2}


def random_crop_flip(images: Tensor, *, pad: int = 4, mirror: bool = True, key: tuple[int, int, Tensor]) -> Tensor:
    """Shift each image by up to `pad` pixels, black coming in at the border, and mirror every second one.

    The usual CIFAR augmentation: a crop of the original size out of the image padded by `pad` on each side; without
    `mirror` it also suits digits.
    `key` = (seed, epoch, indices), indices int64 [B] numbering the images within the dataset: image i of epoch e
    gets the same crop in any batch, on any device, with any number of threads.

    Args:
        images: uint8 [B, C, H, W].

    Returns:
        uint8 [B, C, H, W], a new tensor.

    Example:
        >>> images = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
        >>> random_crop_flip(images, key=(0, 1, torch.tensor([5, 9]))).shape
        torch.Size([2, 3, 32, 32])
    """
    seed, epoch, indices = key
    batch, channels, height, width = images.shape
    if indices.shape != (batch,):
        raise ValueError(f"random_crop_flip: {tuple(indices.shape)} indices for {batch} images; needed one per image")
    device = images.device
    indices = indices.to(device)
    down, right = (uniform_int(2 * pad + 1, seed, epoch, _DRAWS[draw], indices) for draw in ("down", "right"))
    flip = uniform_int(2, seed, epoch, _DRAWS["flip"], indices).bool()
    rows = down[:, None] + torch.arange(height, device=device)
    across = torch.arange(width, device=device).expand(batch, width)
    columns = right[:, None] + torch.where(flip[:, None] & mirror, width - 1 - across, across)
    padded = F.pad(images, (pad, pad, pad, pad))
    stride = width + 2 * pad
    # One gather over pixel positions, the same for all channels.
    positions = (rows[:, :, None] * stride + columns[:, None, :]).reshape(batch, 1, height * width)
    cropped = padded.flatten(2).gather(2, positions.expand(batch, channels, height * width))
    return cropped.view(batch, channels, height, width)
