"""Thresholds and planes reproduce the float32 formulas bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bnnkit import quantizers, reference
from bnnkit.errors import UsageError

WIDTHS = [1, 1.5, 2, 3, 4]
floats = st.floats(-1, 1, width=32)


@given(st.sampled_from(WIDTHS), st.lists(floats, min_size=1, max_size=50))
def test_codes_equal_the_formula(bits: float, values: list[float]) -> None:
    x = torch.tensor(values)
    assert torch.equal(quantizers.make(bits).code(x).float(), reference.value_code(x, bits))


@pytest.mark.parametrize("bits", WIDTHS)
def test_codes_equal_the_formula_around_every_threshold(bits: float) -> None:
    quantizer = quantizers.make(bits)
    edges = np.array(quantizer.thresholds, np.float32)
    assert edges.tolist() == list(quantizer.thresholds)
    near = [edges]
    for direction in (-2, 2):
        step = edges
        for _ in range(4):
            step = np.nextafter(step, np.float32(direction))
            near.append(step)
    x = torch.from_numpy(np.concatenate(near))
    assert torch.equal(quantizer.code(x).float(), reference.value_code(x, bits))


@pytest.mark.parametrize("bits", WIDTHS)
def test_planes_sum_up_to_the_integers(bits: float) -> None:
    quantizer = quantizers.make(bits)
    x = torch.linspace(-1, 1, 1001)
    code = quantizer.code(x)
    if quantizer.thermometer:
        planes = torch.stack([x >= t for t in quantizer.thresholds]).int()
        weights = [1] * quantizer.planes
    else:
        planes = torch.stack([(code >> i) & 1 for i in range(quantizer.planes)])
        weights = [2**i for i in range(quantizer.planes)]
    total = sum(weight * (2 * plane - 1) for weight, plane in zip(weights, planes, strict=True))
    assert torch.equal(torch.as_tensor(total), quantizer.integers(x))
    assert torch.equal(quantizer(x), reference.quantize(x, bits))


@pytest.mark.parametrize("bits", WIDTHS)
def test_values_outside_saturate(bits: float) -> None:
    assert quantizers.make(bits)(torch.tensor([-7.0, 7.0])).tolist() == [-1, 1]


def test_carry_is_the_identity_with_the_gradient_of_the_quantizer() -> None:
    x = torch.linspace(-1, 1, 21, requires_grad=True)
    straight = quantizers.make(2)
    assert straight.carry(x) is x
    impulses = quantizers.make(2, "iga", sigma=0.1)
    carried = impulses.carry(x)
    assert torch.equal(carried, x)
    (through_carry,) = torch.autograd.grad(carried.sum(), x)
    (through_value,) = torch.autograd.grad(impulses(x).sum(), x)
    assert torch.equal(through_carry, through_value)
    assert torch.allclose(through_carry, reference.value_gradient(x.detach(), 2, 0.1))


def test_full_precision_is_the_identity() -> None:
    x = torch.randn(5)
    quantizer = quantizers.make("fp", "iga")
    assert quantizer(x) is x
    assert quantizer.carry(x) is x
    assert quantizer.planes == 0


@pytest.mark.parametrize(("text", "bits"), [("1", 1), ("1.5", 1.5), (4, 4), ("fp", "fp"), ("FP", "fp"), (2.0, 2)])
def test_parse_bits(text: str | float, bits: quantizers.Bits) -> None:
    assert quantizers.parse_bits(text) == bits


@pytest.mark.parametrize("text", ["0", "2.5", "", "one", "nan", -1, 8])
def test_parse_bits_refuses(text: str | float) -> None:
    with pytest.raises(UsageError, match=r"one of 1, 1\.5, 2, 3, 4, fp was needed"):
        quantizers.parse_bits(text)


def test_unknown_gradient_and_sigma_are_refused() -> None:
    with pytest.raises(UsageError, match="unknown value gradient 'sgd'"):
        quantizers.make(1, "sgd")
    with pytest.raises(UsageError, match="not positive"):
        quantizers.make(1, "iga", sigma=0)


def test_quantizers_are_registered() -> None:
    assert list(quantizers.QUANTIZERS) == ["binary", "fp", "multi-level", "nearest", "sign", "ternary"]
