"""Faults of the memory that holds the images: one bit of every byte, or of some of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from bnnkit.counter import hash32
from bnnkit.draws import Bits, below, chosen, random_bits
from bnnkit.errors import UsageError
from bnnkit.faults.kinds import KINDS
from bnnkit.faults.repairs import TOP, Repair
from bnnkit.ops import load

Key: TypeAlias = tuple[int, int, Tensor]

NO_REPAIR = Repair("none", None)

_PLACES, _VALUES = 0x1FA01, 0x1FA02


@dataclass(frozen=True)
class ImageFault:
    """Bit `bit` (0: least significant) of a pixel is faulty, in a share `rate` of the pixels.

    A pixel is one byte: colour images have three for each point.

    Raises:
        UsageError: no bit of a byte, an unknown kind, or no share.

    >>> ImageFault(6).rate
    1.0
    """

    bit: int
    kind: str = "random"
    rate: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.bit <= TOP:
            raise UsageError(f"bit {self.bit}: a byte has bits 0 to {TOP}", hint="--bit 6")
        KINDS.get(self.kind)
        if not 0 <= self.rate <= 1:
            raise UsageError(f"rate {self.rate:g}: a share from 0 to 1 was needed", hint="--rate 0.1")


@dataclass(frozen=True)
class Read:
    """Images as they are read from a faulty memory.

    Attributes:
        images: uint8 [B, C, H, W].
        faulty: bits that are faulty.
        wrong: bits that are read otherwise than they were stored.
    """

    images: Tensor
    faulty: int
    wrong: int


def read(images: Tensor, fault: ImageFault, key: Key, repair: Repair = NO_REPAIR) -> Read:
    """Return what a memory with faults gives back for the images stored in it.

        read = stored ^ ((stored[bit] ^ value) & faulty) << bit

    `value` is what the kind of fault makes of the bit, or with a repair the bit that is copied: only in faulty places,
    which the memory knows. A bit is faulty where a number of its own, uniform in (0, 1), is below the rate, so faults
    at a lower rate are some of those at a higher one. That number and the random values depend on the seed, the map,
    the image and the pixel's position in it, and on nothing else: not on bit, kind, batch or order.

    Args:
        images: uint8 [B, C, H, W], as stored; unchanged.
        key: (seed, map, indices), indices int64 [B] numbering the images within the dataset.

    Raises:
        ValueError: no bytes, or not one index per image.

    Example:
        >>> stored = torch.full((1, 1, 1, 2), 0b1000_0000, dtype=torch.uint8)
        >>> read(stored, ImageFault(6, "flip"), (0, 0, torch.tensor([9]))).images.tolist()
        [[[[192, 192]]]]
    """
    seed, number, indices = key
    if images.dtype != torch.uint8 or indices.shape != images.shape[:1]:
        raise ValueError(
            f"read: images {images.dtype} {list(images.shape)}, indices {list(indices.shape)}; "
            "bytes and one index per image were needed"
        )
    if images.is_cuda:
        return read_by_kernel(images, fault, key, repair)
    stored = images.flatten(1).numpy()
    count = stored.shape[1]
    bits = _bit(stored, fault.bit)
    kind = KINDS.get(fault.kind)
    if repair.source is not None:
        value = _bit(stored, repair.source)
    else:
        drawn = random_bits(count, seed, number, _VALUES, indices) if kind.random else bits
        value = kind.read(bits, drawn)
    wrong = bits ^ value
    faulty = stored.size
    if fault.rate < 1:
        places = chosen(fault.rate, count, seed, number, _PLACES, indices)
        faulty = int(np.count_nonzero(places))
        wrong &= places
    # A product, because NumPy shifts bytes to the left one at a time.
    out = torch.from_numpy(stored ^ (wrong * np.uint8(1 << fault.bit)))
    return Read(out.view_as(images), faulty, int(np.count_nonzero(wrong)))


def read_by_kernel(images: Tensor, fault: ImageFault, key: Key, repair: Repair = NO_REPAIR) -> Read:
    """Do what `read` does by the compiled kernel, on the device of the images."""
    load()
    seed, number, indices = key
    states = [hash32(seed, number, which, indices.to(images.device)) for which in (_PLACES, _VALUES)]
    both = np.array([0, 0, 1, 1], np.uint8), np.array([0, 1, 0, 1], np.uint8)
    truth = KINDS.get(fault.kind).read(*both).tolist()
    source = -1 if repair.source is None else repair.source
    out, counts = torch.ops.bnnkit.image_faults(
        images.flatten(1).contiguous(), *states, fault.bit, source, truth, below(fault.rate)
    )
    faulty, wrong = counts.tolist()
    return Read(out.view_as(images), faulty, wrong)


def _bit(stored: Bits, bit: int) -> Bits:
    bits: Bits = (stored >> np.uint8(bit)) & np.uint8(1)
    return bits
