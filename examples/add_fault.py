"""Faults that bnnkit does not have: one of weight memory by your own rule, and a repair of the image memory.

    python examples/add_fault.py

A packed network takes other weight bits for any of its layers, so a fault of the weights is a function from the bits as
they are stored to the bits as they are read. Here a cell between two others that hold the opposite is disturbed with
some probability. A repair is a function that says which bit is copied, registered by name.
"""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

import bnnkit
from bnnkit import deploy
from bnnkit.data import Dataset
from bnnkit.draws import chosen
from bnnkit.errors import UsageError
from bnnkit.faults import REPAIRS, ImageFault, Repair, parse_repair, read

Bits = npt.NDArray[np.uint8]

DISTURB = 0xE0001
"""A constant of its own among the keys: other faults of the same map draw other numbers."""


def between_opposites(bits: Bits) -> Bits:
    """Return 1 where both neighbours hold the opposite."""
    inner = (bits[1:-1] != bits[:-2]) & (bits[1:-1] != bits[2:])
    return np.pad(inner, 1).astype(np.uint8)


def disturbed(codes: Tensor, rate: float, layer: str, key: tuple[int, int]) -> Tensor:
    """Return the stored codes of a layer as they are read in fault map `key` = (seed, number).

    What is drawn is a hash of the place, so nothing else changes it, and a higher rate keeps the faults of a lower one.
    """
    bits = np.unpackbits(codes.numpy(), bitorder="little")
    drawn = chosen(rate, len(bits), *key, DISTURB, torch.tensor([zlib.crc32(layer.encode())]))[0]
    return torch.from_numpy(np.packbits(bits ^ (between_opposites(bits) & drawn), bitorder="little"))


@REPAIRS.register("highest")
def highest(bit: int, argument: str) -> Repair:
    """Copy the most significant of the other bits: 7, and 6 in place of 7."""
    return Repair("highest", 6 if bit == 7 else 7)


def check_weights(digits: Dataset) -> None:
    """Evaluate the network that comes with bnnkit on 8 chips per rate."""
    golden = deploy.PackedNetwork(deploy.load(deploy.SAMPLE))
    layers = {name.removesuffix(".codes"): t for name, t in golden.weights.tensors.items() if name.endswith(".codes")}
    previous, correct = layers, {}
    for rate in (0.0, 0.05, 0.5):
        maps = [{name: disturbed(codes, rate, name, (0, n)) for name, codes in layers.items()} for n in range(8)]
        networks = [golden.with_faults(codes=codes) for codes in maps]
        logits = deploy.run_together(networks, digits.test.images)  # layers in common run once
        correct[rate] = float((logits.argmax(2) == digits.test.labels).sum(1).double().mean())
        print(f"rate {rate:4}: {correct[rate]:.1f} of {len(digits.test)} digits right, mean over 8 chips")
        for name, codes in layers.items():
            read_as = (codes, maps[0][name], previous[name])
            stored, now, before = (np.unpackbits(bits.numpy(), bitorder="little") for bits in read_as)
            fragile, hit = between_opposites(stored), stored ^ now
            assert not (hit & ~fragile & 1).any(), "nothing else is disturbed"
            assert abs(hit.sum() - rate * fragile.sum()) <= 4 * (rate * (1 - rate) * fragile.sum()) ** 0.5
            assert not ((stored ^ before) & ~hit & 1).any(), "faults at a lower rate are among those at a higher"
        previous = maps[0]
    assert correct[0.0] > correct[0.05] > correct[0.5]


def check_repair(digits: Dataset) -> None:
    """Repair a random bit 7, which `msb` cannot: it would copy the faulty bit itself."""
    try:
        parse_repair("msb", 7)
        raise AssertionError("msb repairs bit 7")
    except UsageError:
        repair = parse_repair("highest", 7)
    images, key = digits.test.images, (0, 0, torch.arange(len(digits.test)))
    errors = {}
    for name, used in (("faulty", parse_repair("none", 7)), ("repaired", repair)):
        seen = read(images, ImageFault(7, "random"), key, used).images
        errors[name] = float((seen.int() - images.int()).abs().float().mean())
        print(f"bit 7 of every pixel, {name}: off by {errors[name]:.1f} of 255 on average")
    assert errors["repaired"] < errors["faulty"]


def main() -> None:
    torch.set_num_threads(1)
    digits = bnnkit.data.load("digits")
    check_weights(digits)
    check_repair(digits)


if __name__ == "__main__":
    main()
