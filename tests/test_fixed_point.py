"""Numbers as integers: constant factors as shifts and additions, activations, and how many bits there is room for."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bnnkit import reference
from bnnkit.nn import fixed_point
from bnnkit.nn.activations import ShiftRPReLU
from bnnkit.nn.fixed_point import (
    DIGITS,
    MOST_FRACTION_BITS,
    WIDEST,
    IntegerActivation,
    ShiftAdd,
    fraction_bits_for,
    to_integers,
)

INT32 = 2**31


@st.composite
def problems(draw: Any) -> tuple[Tensor, float, Tensor]:
    """Draw factors, a bound, and integers within it, such that products stay below 2^WIDEST."""
    largest = draw(st.floats(0.5, 2.0**29))
    limit = 2.0**WIDEST / max(largest, 1)
    share = st.floats(-1, 1, exclude_min=True, exclude_max=True, allow_subnormal=False)
    scale = 2.0 ** draw(st.integers(-40, 0))
    factors = torch.tensor(draw(st.lists(share, min_size=1, max_size=5)), dtype=torch.float64) * limit * scale
    top = int(largest)
    values = [draw(st.integers(-top, top)) for _ in factors]
    return factors, largest, torch.tensor([values, [top] * len(values), [-top] * len(values)])


@given(problems())
def test_products_are_close(problem: tuple[Tensor, float, Tensor]) -> None:
    factors, largest, x = problem
    exact = x.double() * factors
    # A third of the rest is left by every digit, each rounds down by less than 1, and what is left out is less than 1.
    allowed = exact.abs() / 3**DIGITS + DIGITS + 1
    assert ((ShiftAdd.of(factors, largest)(x) - exact).abs() <= allowed).all()


@given(problems())
def test_products_are_those_of_the_reference(problem: tuple[Tensor, float, Tensor]) -> None:
    factors, largest, x = problem
    product = ShiftAdd.of(factors, largest)
    found = product(x)
    assert found.dtype == torch.int64
    assert torch.equal(found, reference.shift_add(x, product.shifts, product.signs, product.lift))


@given(problems())
def test_nothing_on_the_way_leaves_32_bits(problem: tuple[Tensor, float, Tensor]) -> None:
    factors, largest, x = problem
    product = ShiftAdd.of(factors, largest)
    assert 0 <= int(product.shifts.min()) <= int(product.shifts.max()) <= 31
    assert 0 <= product.lift <= 30
    lifted = x * 2**product.lift
    total = torch.zeros_like(x)
    assert lifted.abs().max() < INT32
    for shift, sign in zip(product.shifts.long(), product.signs.long(), strict=True):
        term = sign * (lifted >> shift)
        total = total + term
        assert term.abs().max() < INT32 / 4
        assert total.abs().max() < INT32 / 4


@given(problems())
def test_the_sign_of_a_factor_is_the_sign_of_its_digits(problem: tuple[Tensor, float, Tensor]) -> None:
    factors, largest, _ = problem
    one, other = ShiftAdd.of(factors, largest), ShiftAdd.of(-factors, largest)
    assert torch.equal(one.signs, -other.signs)
    assert torch.equal(one.shifts, other.shifts)


def test_values_of_several_dimensions_have_their_channels_second() -> None:
    product = ShiftAdd.of(torch.tensor([0.5, -2.0, 0.0]), 1000)
    x = torch.randint(-1000, 1000, (2, 3, 4, 5), generator=torch.Generator().manual_seed(1))
    expected = torch.stack([x[:, 0] >> 1, -2 * x[:, 1], torch.zeros_like(x[:, 2])], 1)
    assert torch.equal(product(x), expected)


def test_a_factor_of_zero_has_no_digits() -> None:
    product = ShiftAdd.of(torch.tensor([0.0, 1.0]), 100)
    assert product.signs[:, 0].tolist() == [0] * DIGITS
    assert product(torch.tensor([[100, 100]])).tolist() == [[0, 100]]


def test_powers_of_two_and_their_sums_are_exact() -> None:
    factors = torch.tensor([0.25, -4.0, 0.75, 5.0, -0.625], dtype=torch.float64)
    product = ShiftAdd.of(factors, 1000)
    assert product.signs.ne(0).sum(0).tolist() == [1, 1, 2, 2, 2]
    x = 8 * torch.arange(-100, 100)[:, None].expand(-1, 5)
    assert torch.equal(product(x).double(), x * factors)


def test_shifts_round_down() -> None:
    product = ShiftAdd.of(torch.tensor([0.5, -0.5]), 1000)
    assert product(torch.tensor([[3, 3], [-3, -3]])).tolist() == [[1, -1], [-2, 2]]


def test_digits_that_do_not_matter_are_left_out() -> None:
    assert ShiftAdd.of(torch.tensor([1.0 + 2.0**-12], dtype=torch.float64), 1000).signs.ne(0).sum() == 1
    assert ShiftAdd.of(torch.tensor([1.0 + 2.0**-12], dtype=torch.float64), 10000).signs.ne(0).sum() == 2


def test_a_factor_beyond_the_room_is_noticed() -> None:
    with pytest.raises(AssertionError, match="wider than WIDEST"):
        ShiftAdd.of(torch.tensor([2.0**20]), 2.0**20)


def test_more_digits_come_closer(monkeypatch: pytest.MonkeyPatch) -> None:
    factor = torch.tensor([math.pi], dtype=torch.float64)
    errors = []
    for digits in (1, 2, 4, 8):
        monkeypatch.setattr(fixed_point, "DIGITS", digits)
        errors.append(abs(int(ShiftAdd.of(factor, 2.0**25)(torch.tensor([[2**25]]))) - math.pi * 2**25))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 8


def test_what_a_packed_network_is_told_means_the_same() -> None:
    told = ShiftAdd.of(torch.tensor([0.3, -1.7, 0.0]), 500).arguments()
    x = torch.arange(-500, 501)[:, None].expand(-1, 3)
    found = reference.shift_add(x, torch.tensor(told["shifts"]), torch.tensor(told["signs"]), told["lift"])
    assert torch.equal(found, ShiftAdd.of(torch.tensor([0.3, -1.7, 0.0]), 500)(x))
    assert {name: str(told[name].dtype) for name in ("shifts", "signs")} == {"shifts": "int32", "signs": "int32"}


@given(
    parameters=st.lists(
        st.tuples(st.floats(-8, 8, width=32), st.floats(-9.5, 3.5, width=32), st.floats(-8, 8, width=32)),
        min_size=1,
        max_size=4,
    ),
    fraction_bits=st.integers(0, 20),
    seed=st.integers(0, 1000),
)
def test_integer_activation_is_the_activation(
    parameters: list[tuple[float, float, float]], fraction_bits: int, seed: int
) -> None:
    one, channels = 2**fraction_bits, len(parameters)
    layer = ShiftRPReLU(channels)
    with torch.no_grad():
        columns = (torch.tensor(column, dtype=torch.float32) for column in zip(*parameters, strict=True))
        for parameter, column in zip((layer.bias_in, layer.log2_slope, layer.bias_out), columns, strict=True):
            parameter.copy_(column)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(-10 * one, 10 * one + 1, (2, channels, 3, 3), generator=generator)
    integers = IntegerActivation.of(
        *(p.detach() for p in (layer.bias_in, layer.log2_slope, layer.bias_out)), fraction_bits
    )
    found = integers(x)
    with torch.no_grad():
        expected = layer.double()(x.double() / one) * one
    # Half a unit for each bias, the first one stretched by the slope, and one for the shift to the right.
    steepest = torch.exp2(layer.log2_slope.detach().round()).clamp_min(1).view(1, -1, 1, 1)
    assert ((found - expected).abs() <= 0.5 * steepest + 1.5).all()


def test_slopes_are_shifts_to_the_right_and_to_the_left() -> None:
    zero = torch.zeros(5)
    log2_slope = torch.tensor([-3.0, -0.4, 0.6, 2.0, -40.0])
    activation = IntegerActivation.of(zero, log2_slope, zero, 10)
    assert activation.right.tolist() == [3, 0, 0, 0, 31]
    assert activation.left.tolist() == [0, 0, 1, 2, 0]
    x = torch.tensor([-20, 20]).view(2, 1, 1, 1).expand(-1, 5, -1, -1)
    assert activation(x).flatten(1).tolist() == [[-3, -20, -40, -80, -1], [20] * 5]
    assert all(part.dtype.name == "int32" for part in activation.arguments().values())


@given(st.floats(1e-3, 2.0**40))
def test_fraction_bits_leave_room_and_waste_none(largest: float) -> None:
    bits = fraction_bits_for(largest)
    assert largest * 2.0**bits < 2**WIDEST
    assert bits == MOST_FRACTION_BITS or largest * 2.0 ** (bits + 1) >= 2**WIDEST


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=9), st.integers(-3, 24))
def test_rounding_to_integers(values: list[float], fraction_bits: int) -> None:
    found = to_integers(torch.tensor(values), fraction_bits)
    limits = -INT32, INT32 - 1
    assert found.dtype == torch.int32
    # Python rounds halves to even, too.
    assert found.tolist() == [min(max(round(value * 2.0**fraction_bits), limits[0]), limits[1]) for value in values]
