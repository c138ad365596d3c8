"""The image memory: every bit, kind and repair against a loop over pixels, and what faults depend on."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bnnkit.counter import hash32, uniform
from bnnkit.errors import UsageError
from bnnkit.faults import KINDS, REPAIRS, ImageFault, Repair, parse_repair, read
from bnnkit.faults.images import NO_REPAIR, read_by_kernel

SHAPE = (3, 3, 4)
"""36 pixels: more than the bits of one hash."""
PLACES, VALUES = 0x1FA01, 0x1FA02
INDICES = torch.tensor([7, 0, 40_000])


def images(count: int = 3) -> Tensor:
    return torch.randint(0, 256, (count, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def repairs_of(bit: int) -> list[Repair]:
    offsets = [f"neighbor:{offset}" for offset in range(-bit, 8 - bit) if offset]
    return [parse_repair(name, bit) for name in ("none", *offsets, *(["msb"] if bit < 7 else []))]


def slowly(stored: Tensor, fault: ImageFault, seed: int, number: int, indices: Tensor, repair: Repair) -> Tensor:
    """Do what the definition says, pixel by pixel, in Python's integers."""
    found = []
    for image, index in zip(stored, indices, strict=True):
        place = torch.arange(image.numel())
        drawn = uniform(seed, number, PLACES, index, place).tolist()
        words = hash32(seed, number, VALUES, index, place // 32).tolist()
        for position, pixel in enumerate(image.flatten().tolist()):
            bits = [pixel // 2**b % 2 for b in range(8)]
            if drawn[position] < fault.rate:
                faulty = {
                    "random": words[position] // 2 ** (position % 32) % 2,
                    "stuck0": 0,
                    "stuck1": 1,
                    "flip": 1 - bits[fault.bit],
                }[fault.kind]
                bits[fault.bit] = faulty if repair.source is None else bits[repair.source]
            found.append(sum(value * 2**b for b, value in enumerate(bits)))
    return torch.tensor(found, dtype=torch.uint8).view_as(stored)


@pytest.mark.parametrize("bit", range(8))
@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("rate", [0.0, 0.4, 1.0])
def test_against_a_loop_over_pixels(bit: int, kind: str, rate: float) -> None:
    stored, fault = images(), ImageFault(bit, kind, rate)
    before = stored.clone()
    for repair in repairs_of(bit):
        expected = slowly(stored, fault, 3, 1, INDICES, repair)
        found, by_kernel = (reader(stored, fault, (3, 1, INDICES), repair) for reader in (read, read_by_kernel))
        assert torch.equal(found.images, expected) and torch.equal(by_kernel.images, expected)
        assert found.wrong == by_kernel.wrong == int((expected != stored).sum())
        assert found.faulty == by_kernel.faulty
    assert torch.equal(stored, before)


@given(
    rates=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    kind=st.sampled_from(list(KINDS)),
    bit=st.integers(0, 7),
    seed=st.integers(-(2**40), 2**40),
    number=st.integers(0, 9),
)
def test_faults_at_a_lower_rate_are_some_of_those_at_a_higher_one(
    rates: tuple[float, float], kind: str, bit: int, seed: int, number: int
) -> None:
    low, high = sorted(rates)
    stored, key = images(), (seed, number, INDICES)
    few = read(stored, ImageFault(bit, kind, low), key)
    many = read(stored, ImageFault(bit, kind, high), key)
    assert few.faulty <= many.faulty and few.wrong <= many.wrong
    changed = few.images != stored
    assert torch.equal(few.images[changed], many.images[changed])


@given(st.permutations(range(12)), st.integers(1, 12))
def test_neither_order_nor_batch_matter(order: list[int], batch: int) -> None:
    stored, chosen = images(12), torch.tensor(order)
    for fault in (ImageFault(6), ImageFault(2, "flip", 0.3)):
        whole = read(stored, fault, (0, 2, torch.arange(12)))
        parts = [read(stored[part], fault, (0, 2, part)) for part in chosen.split(batch)]
        assert torch.equal(torch.cat([part.images for part in parts]), whole.images[chosen])
        assert sum(part.faulty for part in parts) == whole.faulty
        assert sum(part.wrong for part in parts) == whole.wrong


def test_seeds_maps_and_images_have_faults_of_their_own() -> None:
    stored = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    found = [
        read(stored, ImageFault(6, rate=rate), (seed, number, torch.tensor([index]))).images
        for rate in (0.5, 1.0)
        for seed, number, index in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))
    ]
    for first in range(len(found)):
        for second in range(first):
            assert not torch.equal(found[first], found[second])


def test_places_and_values_do_not_depend_on_bit_or_kind() -> None:
    stored, key = torch.zeros(2, *SHAPE, dtype=torch.uint8), (0, 0, INDICES[:2])
    flipped = read(stored, ImageFault(0, "flip", 0.3), key).images
    assert torch.equal(read(stored, ImageFault(5, "stuck1", 0.3), key).images, flipped * 32)
    assert torch.equal(read(stored, ImageFault(4), key).images, read(stored, ImageFault(0), key).images * 16)


@pytest.mark.parametrize("rate", [0.01, 0.25, 0.9])
def test_faulty_bits_are_as_many_as_expected(rate: float) -> None:
    stored = torch.zeros(60, 3, 32, 32, dtype=torch.uint8)
    found = read(stored, ImageFault(3, "flip", rate), (0, 0, torch.arange(60)))
    spread = (stored.numel() * rate * (1 - rate)) ** 0.5
    assert abs(found.faulty - rate * stored.numel()) < 4 * spread
    assert found.wrong == found.faulty == int((found.images != stored).sum())
    drawn = read(stored, ImageFault(3, "random", rate), (0, 0, torch.arange(60)))
    assert drawn.faulty == found.faulty
    assert abs(drawn.wrong - found.faulty / 2) < 2 * found.faulty**0.5


def test_repairs_name_the_bit_they_copy() -> None:
    assert parse_repair("none", 3) == NO_REPAIR
    assert parse_repair("neighbor", 3) == parse_repair("neighbor:-1", 3) == Repair("neighbor", 2)
    assert parse_repair("neighbor:4", 3) == parse_repair("neighbor:+4", 3) == Repair("neighbor:+4", 7)
    assert parse_repair("msb", 3) == Repair("msb", 7)
    assert list(REPAIRS) == ["msb", "neighbor", "none"]


@pytest.mark.parametrize(
    ("repair", "bit", "message", "hint"),
    [
        ("neighbor", 0, "would copy bit -1", "--repair neighbor:+1"),
        ("neighbor:2", 6, "would copy bit 8", "--repair neighbor:-1"),
        ("neighbor:0", 4, "would copy the faulty bit itself", "--repair neighbor:-1"),
        ("neighbor:x", 4, "a whole number was needed", "--repair neighbor:-1"),
        ("msb", 7, "would copy the faulty bit itself", "--repair neighbor:-1"),
        ("msb:1", 4, "takes nothing behind a colon", "--repair msb"),
        ("neigbor", 4, "unknown repair 'neigbor'", "did you mean 'neighbor'?"),
    ],
)
def test_impossible_repairs(repair: str, bit: int, message: str, hint: str) -> None:
    with pytest.raises(UsageError, match=message) as failure:
        parse_repair(repair, bit)
    assert failure.value.hint == hint


@pytest.mark.parametrize(
    "options", [(-1,), (8,), (6, "flop"), (6, "flip", -0.1), (6, "flip", 1.1), (6, "flip", float("nan"))]
)
def test_impossible_faults(options: tuple[int, str, float]) -> None:
    with pytest.raises(UsageError):
        ImageFault(*options)


def test_images_are_bytes_with_an_index_each() -> None:
    with pytest.raises(ValueError, match="bytes and one index per image"):
        read(images().float(), ImageFault(6), (0, 0, INDICES))
    with pytest.raises(ValueError, match="bytes and one index per image"):
        read(images(), ImageFault(6), (0, 0, INDICES[:2]))
