"""The specification against hand-computed values, NumPy and plain torch convolutions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from bnnkit import reference


def test_ties() -> None:
    zero = torch.tensor([0.0, -0.0])
    assert reference.quantize(zero, 1).tolist() == [-1, -1]
    assert reference.quantize(torch.tensor([0.2, -0.2]), 1.5).tolist() == [1, -1]
    assert reference.adc(zero, 1, 128).tolist() == [-128, -128]
    # The general formula at one bit would give +R: the sense amplifier is not its special case.
    assert reference.floor_code(zero, 1, -128.0, 128.0).tolist() == [1, 1]
    assert reference.adc_code(zero, 2, 128).tolist() == [2, 2]


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_multi_level_values_are_odd_integers_over_the_unit(bits: int) -> None:
    unit = 2**bits - 1
    x = torch.linspace(-1, 1, 4001)
    values = reference.integers(x, bits)
    assert torch.equal(torch.unique(values), torch.arange(-unit, unit + 1, 2).double())
    assert torch.equal(reference.quantize(x, bits), (values / unit).float())


def test_five_bits_are_the_identity() -> None:
    x = torch.randn(10)
    assert torch.equal(reference.quantize(x, 5), x)
    assert torch.equal(reference.adc(x, 8, 128), x)


def test_converter_saturates() -> None:
    assert reference.adc(torch.tensor([-1000.0, 1000.0]), 3, 128).tolist() == [-128, 128]


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_impulse_gradient_integrates_to_the_height_of_the_staircase(bits: int) -> None:
    # Each impulse is a density times its step; between the outermost levels lie 2^k - 1 of them.
    ps = torch.arange(-128, 128, 0.01)
    area = reference.adc_gradient(ps, bits, 128, 1.0).sum() * 0.01
    assert area.item() == pytest.approx(256, rel=1e-3)


def test_straight_through_gradient_is_one() -> None:
    x = torch.linspace(-1, 1, 9, requires_grad=True)
    (grad,) = torch.autograd.grad(reference.quantize(x, 2).sum(), x)
    assert torch.equal(grad, torch.ones(9))


def test_impulse_gradient_reaches_the_input() -> None:
    x = torch.tensor([0.0, 0.2, 0.9], requires_grad=True)
    (grad,) = torch.autograd.grad(reference.quantize(x, 1.5, gradient="iga").sum(), x)
    assert torch.allclose(grad, reference.value_gradient(x.detach(), 1.5))
    assert grad[1] == pytest.approx(1 / (0.02 * (2 * np.pi) ** 0.5))


@settings(max_examples=40, deadline=None)
@given(
    channels=st.integers(1, 20),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.integers(1, 2),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    groups=st.integers(1, 2),
    mapping=st.sampled_from(["channel", "tap"]),
    rows=st.sampled_from([9, 20, 128]),
    seed=st.integers(0, 2**31),
)
def test_arrays_without_a_converter_add_up_to_the_convolution(
    channels: int,
    kernel: tuple[int, int],
    stride: int,
    padding: int,
    dilation: int,
    groups: int,
    mapping: str,
    rows: int,
    seed: int,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(-3, 4, (2, channels * groups, 6, 7), generator=generator).float().requires_grad_()
    w = torch.randint(-3, 4, (2 * groups, channels, *kernel), generator=generator).float().requires_grad_()
    bias = torch.randn(2 * groups, generator=generator)
    geometry = (stride, padding, dilation, groups)
    y = reference.adc_conv2d(x, w, bias, *geometry, mapping, rows, None, lambda ps: ps)
    expected = F.conv2d(x, w, bias, *geometry)
    assert torch.allclose(y, expected, atol=1e-4)
    direction = torch.randn(y.shape, generator=generator)
    got = torch.autograd.grad(y, (x, w), direction)
    want = torch.autograd.grad(expected, (x, w), direction)
    assert all(torch.allclose(g, e, atol=1e-3) for g, e in zip(got, want, strict=True))


def test_padding_is_neither_plus_nor_minus_one() -> None:
    x, w = torch.ones(1, 1, 1, 1), torch.ones(1, 1, 3, 3)
    seen: list[float] = []

    def note(ps: torch.Tensor) -> torch.Tensor:
        seen.append(ps.item())
        return ps

    reference.adc_conv2d(x, w, None, 1, 1, 1, 1, "channel", 128, None, note)
    assert set(seen) == {1.0}


def test_multi_bit_partial_sums_are_exact_on_a_threshold() -> None:
    # 1/15 + 5/15 - 1/15 - 5/15 and the like leave 1e-17 in floats; 0 must read as -R.
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(1, 60, generator=generator) * 2 - 1
    x = torch.cat([x, -x], 1)
    w = torch.rand(1, 60, generator=generator) * 2 - 1
    x_int, w_int = reference.integers(x, 4), reference.integers(torch.cat([w, w], 1), 4)
    y = reference.adc_gemm(x_int, w_int, None, 128, lambda ps: reference.adc(ps, 1, 128), 225)
    assert (x_int * w_int).sum() == 0
    assert y.item() == -128


def test_linear_arrays() -> None:
    x, w = torch.ones(1, 300), torch.ones(2, 300)
    y = reference.adc_gemm(x, w, torch.tensor([0.5, -0.5]), 128, lambda ps: reference.adc(ps, 1, 128))
    assert y.tolist() == [[384.5, 383.5]]


@given(st.integers(1, 200), st.integers(0, 2**31))
def test_packing_is_numpy_little_endian(values: int, seed: int) -> None:
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], (3, values))
    packed = reference.pack_bits(torch.from_numpy(signs)).numpy()
    assert packed.shape == (3, 8 * -(-values // 64))
    unpacked = np.unpackbits(packed, axis=1, bitorder="little")
    assert (2.0 * unpacked[:, :values] - 1 == signs).all()
    assert not unpacked[:, values:].any()


def test_xnor_gemm_is_the_product_of_signs() -> None:
    x, w = torch.randn(5, 70), torch.randn(6, 70)
    assert torch.equal(reference.xnor_gemm(x, w).float(), torch.sign(x) @ torch.sign(w).T)


@given(st.integers(1, 8), st.integers(1, 8), st.integers(0, 2**31))
def test_slices_lose_nothing(bits: int, cell_bit: int, seed: int) -> None:
    w = torch.from_numpy(np.random.default_rng(seed).integers(0, 2**bits, (4, 5)))
    slices = reference.slice_weights(w, bits, cell_bit)
    assert slices.shape[0] == -(-bits // cell_bit)
    assert int(slices.max()) < 2**cell_bit
    assert torch.equal(reference.merge_slices(slices, cell_bit).long(), w)
