"""Faults of the image memory that are not in one bit: in all bits of a byte, in runs of bits, in the byte's value."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from bnnkit.cim import Fault
from bnnkit.counter import hash32
from bnnkit.draws import chosen, normals
from bnnkit.faults.images import NO_REPAIR, ImageFault, Key, Read, read
from bnnkit.faults.repairs import TOP, Repair

_BURST, _NOISE = 0x1FA03, 0x1FA04


def read_all(images: Tensor, faults: Sequence[Fault], key: Key, repair: Repair = NO_REPAIR) -> Read:
    """Return images as they come out of a memory with several kinds of faults, one after the other.

    Args:
        images: uint8 [B, C, H, W], as stored.
        faults: of the site "input".
        key: (seed, map, indices), indices int64 [B]; what is faulty depends on nothing else, see
            `bnnkit.faults.images.read`.
        repair: of faults in one bit.

    Example:
        >>> from bnnkit.cim import parse_fault
        >>> black = torch.zeros(1, 1, 1, 2, dtype=torch.uint8)
        >>> read_all(black, [parse_fault("input:stuck1@1")], (0, 0, torch.tensor([3]))).images.tolist()
        [[[[255, 255]]]]
    """
    faulty = wrong = 0
    for fault in faults:
        found = _read(images, fault, key, repair)
        images, faulty, wrong = found.images, faulty + found.faulty, wrong + found.wrong
    return Read(images, faulty, wrong)


def expected_faulty(fault: Fault, pixels: int) -> float | None:
    """Return how many bits of `pixels` bytes are faulty on average; None for noise."""
    if fault.kind == "gauss":
        return None
    if fault.kind == "burst":
        # But for the first bits of an image, which fewer bursts can reach.
        return 8 * pixels * (1 - (1 - fault.amount / fault.length) ** fault.length)
    return fault.amount * pixels * (1 if fault.bit is not None else TOP + 1)


def _read(images: Tensor, fault: Fault, key: Key, repair: Repair) -> Read:
    if fault.kind == "gauss":
        return _with_noise(images, fault, key)
    if fault.kind == "burst":
        return _with_bursts(images, fault, key)
    if fault.bit is not None:
        return read(images, ImageFault(fault.bit, fault.kind, fault.amount), key, repair)
    seed, number, indices = key
    faulty = wrong = 0
    for bit in range(TOP + 1):
        own = int(hash32(seed, bit + 1))
        found = read(images, ImageFault(bit, fault.kind, fault.amount), (own, number, indices))
        images, faulty, wrong = found.images, faulty + found.faulty, wrong + found.wrong
    return Read(images, faulty, wrong)


def _with_bursts(images: Tensor, fault: Fault, key: Key) -> Read:
    """Flip runs of bits; bits follow each other from the least significant one of the first pixel on."""
    seed, number, indices = key
    stored = images.flatten(1).cpu().numpy()
    count = stored.shape[1] * 8
    starts = chosen(fault.amount / fault.length, count, seed, number, _BURST, indices)
    # How many bursts cover a bit: those begun up to here less those that have ended.
    hit = starts.cumsum(1, dtype=np.int32)
    hit[:, fault.length :] -= hit[:, : -fault.length].copy()
    out = stored ^ np.packbits(hit > 0, axis=1, bitorder="little")
    faulty = int(np.count_nonzero(hit))
    return Read(torch.from_numpy(out).view_as(images).to(images.device), faulty, faulty)


def _with_noise(images: Tensor, fault: Fault, key: Key) -> Read:
    """Add Gaussian noise of a standard deviation given as a share of 255; bytes round and saturate."""
    seed, number, indices = key
    stored = images.flatten(1).cpu().numpy()
    noise = normals(stored.shape[1], seed, number, _NOISE, indices)
    out = np.clip(np.rint(stored + 255 * fault.amount * noise), 0, 255).astype(np.uint8)
    wrong = int(np.count_nonzero(np.unpackbits(out ^ stored)))
    return Read(torch.from_numpy(out).view_as(images).to(images.device), wrong, wrong)
