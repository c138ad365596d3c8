"""Standardized convolutions of A&B BNN against the formulation of its paper, written with plain torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from bnnkit import ops
from bnnkit.cim import Array, Layout
from bnnkit.errors import UsageError
from bnnkit.nn import Backend, ScaledCimConv2d, ScaledConv2d, backend
from bnnkit.nn.scaled import standardize
from bnnkit.ops import autograd

BACKENDS: list[Backend] = ["reference", "torch", "packed"]
PATHS = {"reference": ("reference", "reference"), "torch": ("torch", "loop"), "packed": ("xnor", "adc")}
"""What computes a layer without and with converters."""


def standardized(weight: Tensor) -> Tensor:
    """Return the standardized weights, channel by channel."""
    channels = []
    for channel in weight:
        deviation = (channel - channel.mean()).square().mean().sqrt()
        channels.append((channel - channel.mean()) / (deviation + 1e-5) / channel.numel() ** 0.5)
    return torch.stack(channels)


def sign_of_activation(x: Tensor) -> Tensor:
    """Return signs with the gradient of 2 * sigmoid(3x) - 1."""
    soft = 2 * torch.sigmoid(3 * x) - 1
    return torch.where(x >= 0, 1.0, -1.0) + soft - soft.detach()


def binary_convolution(x: Tensor, weight: Tensor, gain: Tensor, stride: int, padding: int) -> Tensor:
    """Return conv(sign(x), gain * mean|W'| * sign(W')), W' passing gradients inside [-1, 1]."""
    standard = standardized(weight)
    hard = standard.detach().abs().mean((1, 2, 3), keepdim=True) * torch.where(standard >= 0, 1.0, -1.0)
    clipped = standard.clamp(-1, 1)
    return F.conv2d(sign_of_activation(x), gain * (hard.detach() + clipped - clipped.detach()), None, stride, padding)


def drawn(seed: int, **options: Any) -> ScaledCimConv2d:
    torch.manual_seed(seed)
    layer = ScaledCimConv2d(**options)
    nn.init.normal_(layer.weight)
    with torch.no_grad():
        layer.gain.normal_()
    return layer


def gradients(y: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    direction = torch.randn(y.shape, generator=torch.Generator().manual_seed(2))
    return list(torch.autograd.grad((y * direction).sum(), inputs))


def assert_close(found: list[Tensor], expected: list[Tensor]) -> None:
    for f, e in zip(found, expected, strict=True):
        assert (f - e).abs().max() <= 1e-4 * e.abs().max().clamp_min(0.1)


def test_standardized_weights_and_their_gradient() -> None:
    weight = torch.randn(5, 3, 3, 2, requires_grad=True)
    assert torch.allclose(standardize(weight), standardized(weight), rtol=1e-5, atol=1e-7)
    assert_close(gradients(standardize(weight), [weight]), gradients(standardized(weight), [weight]))
    flat = standardize(weight.detach().double()).flatten(1)
    assert flat.mean(1).abs().max() < 1e-12
    assert torch.allclose(flat.square().sum(1), torch.ones(5, dtype=torch.float64), atol=1e-4)


def test_weights_of_one_value_do_not_become_infinite() -> None:
    assert torch.equal(standardize(torch.full((2, 3, 1, 1), 0.7)), torch.zeros(2, 3, 1, 1))


def test_full_precision_convolution() -> None:
    layer, x = ScaledConv2d(3, 4, 3, 2, 1), torch.randn(2, 3, 7, 5)
    with torch.no_grad():
        layer.gain.normal_()
    expected = F.conv2d(x, layer.gain * standardized(layer.weight), None, 2, 1)
    assert_close([layer(x)], [expected])
    assert_close(gradients(layer(x), [layer.weight, layer.gain]), gradients(expected, [layer.weight, layer.gain]))
    finished = layer.effective_weight().detach()
    with torch.no_grad():
        layer.weight.copy_(finished)
    layer.is_standardized = True
    assert torch.equal(layer.effective_weight(), finished)
    assert_close([layer(x)], [expected])


@settings(max_examples=30, deadline=None)
@given(
    in_channels=st.integers(4, 70),
    out_channels=st.integers(1, 5),
    kernel_size=st.sampled_from([1, 2, 3]),
    stride=st.integers(1, 2),
    padding=st.integers(0, 1),
    name=st.sampled_from(BACKENDS),
    seed=st.integers(0, 2**31),
)
def test_binary_convolution_is_that_of_the_paper(
    name: Backend, seed: int, stride: int, padding: int, **shape: Any
) -> None:
    layer = drawn(seed, **shape, stride=stride, padding=padding, ao_bit=1, w_bit=1, adc_bit="fp")
    x = torch.randn(2, shape["in_channels"], 6, 5, requires_grad=True)
    inputs = [x, layer.weight, layer.gain]
    expected = binary_convolution(*inputs, stride, padding)
    with backend(name):
        y = layer(x)
    assert torch.allclose(y, expected, rtol=1e-4, atol=1e-4 * float(expected.detach().abs().max()))
    assert_close(gradients(y, inputs), gradients(expected, inputs))


@settings(max_examples=30, deadline=None)
@given(
    in_channels=st.integers(4, 70),
    kernel_size=st.sampled_from([1, 3]),
    stride=st.integers(1, 2),
    adc_bit=st.sampled_from(["fp", 1, 2, 4]),
    rows=st.integers(9, 150),
    mapping=st.sampled_from(["channel", "tap"]),
    seed=st.integers(0, 2**31),
)
def test_backends_agree(kernel_size: int, rows: int, mapping: Any, seed: int, **options: Any) -> None:
    layer = drawn(
        seed,
        out_channels=3,
        kernel_size=kernel_size,
        padding=kernel_size // 2,
        ao_bit=1,
        w_bit=1,
        array=Array(rows, mapping),
        **options,
    )
    x = torch.randn(2, layer.in_channels, 5, 6, requires_grad=True)
    inputs = [x, layer.weight, layer.gain]
    outputs, sums, slopes = [], [], []
    for name in BACKENDS:
        with backend(name):
            assert layer.path() == PATHS[name][layer.adc is not None]
            outputs.append(layer(x))
            slopes.append(gradients(outputs[-1], inputs))
            with torch.no_grad():
                found, unit, offset = layer.sums(x, layer.latent_weight())
        assert offset == 0
        assert unit == (1.0 if layer.adc is None else layer.adc.scale)
        sums.append(found)
    for other in (1, 2):
        assert torch.equal(outputs[other], outputs[0])
        assert torch.equal(sums[other], sums[0])
        assert_close(slopes[other], slopes[0])


@pytest.mark.parametrize("adc_bit", ["fp", 1, 2, 4])
def test_a_factor_per_channel_stands_behind_the_sums(adc_bit: Any) -> None:
    layer = drawn(3, in_channels=20, out_channels=4, kernel_size=3, ao_bit=1, w_bit=1, adc_bit=adc_bit)
    x = torch.randn(2, 20, 5, 5)
    sums, unit, _ = layer.sums(x, layer.latent_weight())
    expected = unit * sums.double() * layer.factor().double().view(1, -1, 1, 1)
    assert torch.allclose(layer(x).double(), expected, rtol=1e-6)
    mean = standardized(layer.weight).abs().mean((1, 2, 3))
    assert torch.allclose(layer.factor(), mean * layer.gain.flatten(), rtol=1e-5)
    assert len(sums.unique()) > 2


@pytest.mark.parametrize("ao_bit", [1, "fp"])
def test_full_precision_weights_of_the_first_step(ao_bit: Any) -> None:
    layer = drawn(4, in_channels=6, out_channels=3, kernel_size=3, padding=1, ao_bit=ao_bit, w_bit="fp", adc_bit="fp")
    x = torch.randn(2, 6, 5, 5, requires_grad=True)
    inputs = [x, layer.weight, layer.gain]
    expected = F.conv2d(
        sign_of_activation(x) if ao_bit == 1 else x, layer.gain * standardized(layer.weight), None, 1, 1
    )
    assert_close([layer(x)], [expected])
    assert_close(gradients(layer(x), inputs), gradients(expected, inputs))


def test_binary_weights_on_values_are_sums_with_signs() -> None:
    layer = drawn(5, in_channels=6, out_channels=3, kernel_size=1, ao_bit="fp", w_bit=1, adc_bit="fp")
    x = torch.randn(2, 6, 4, 4)
    signs = torch.where(standardized(layer.weight) >= 0, 1.0, -1.0)
    assert_close([layer(x)], [F.conv2d(x, signs) * layer.factor().view(1, -1, 1, 1)])
    with pytest.raises(UsageError, match="two low-bit operands"), backend("packed"):
        layer(x)


def test_a_layer_becomes_signs_and_factors() -> None:
    layer = drawn(6, in_channels=9, out_channels=4, kernel_size=3, padding=1, ao_bit=1, w_bit=1, adc_bit=2)
    x = torch.randn(2, 9, 5, 5)
    other = drawn(7, in_channels=9, out_channels=4, kernel_size=3, padding=1, ao_bit=1, w_bit=1, adc_bit=2)
    assert not torch.equal(other(x), layer(x))
    other.become(layer.weight_quantizer(layer.latent_weight().detach()), layer.factor().detach())
    assert torch.equal(other.factor(), layer.factor())
    assert torch.equal(other.sums(x, other.latent_weight())[0], layer.sums(x, layer.latent_weight())[0])


def test_latent_weights_are_not_clamped() -> None:
    assert not ScaledCimConv2d(2, 2, 1, ao_bit=1, w_bit=1, adc_bit="fp").clamps_latent


class Context:
    """What torch hands to the functions that keep operands for the backward pass."""

    def save_for_backward(self, *tensors: Tensor) -> None:
        self.saved_tensors = tensors


@settings(max_examples=40, deadline=None)
@given(
    channels=st.sampled_from([1, 3, 7, 8, 9, 63, 64, 65, 130]),
    outputs=st.integers(1, 9),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    size=st.tuples(st.integers(5, 9), st.integers(5, 9)),
    bias=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_gradients_of_exact_sums_by_torch_are_those_of_the_kernel(
    channels: int, outputs: int, kernel: Any, size: Any, bias: bool, seed: int, **moves: Any
) -> None:
    ops.load()
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, channels, *size, generator=generator).sign()
    w = torch.randn(outputs, channels, *kernel, generator=generator).sign()
    layer = ScaledCimConv2d(channels, outputs, kernel, ao_bit=1, w_bit=1, adc_bit="fp")
    layout = Layout(channels, *kernel, channels * kernel[0] * kernel[1], channels, False)
    x_bits = ops.pack_pixels(x, layer.activation, channels_per_array=channels)
    w_bits = ops.pack_kernels(w, layer.weight_quantizer, layout=layout)
    geometry = [list(moves[name]) for name in ("stride", "padding", "dilation")]
    context: Any = Context()
    no_bias = torch.zeros(outputs) if bias else None
    autograd._keep_xnor(context, (x_bits, w_bits, x, w, no_bias, channels, list(kernel), *geometry, 1), x)
    x.requires_grad_(), w.requires_grad_()
    y = F.conv2d(x, w, None, *(moves[name] for name in ("stride", "padding", "dilation")))
    gy = torch.randn(y.shape, generator=generator)
    expected = torch.autograd.grad(y, [x, w], gy)
    for found in (autograd._torch_gradients(context, gy), autograd._gradients(context, gy, None)):
        assert_close(list(found[:2]), list(expected))
        assert (found[2] is None) != bias
        if found[2] is not None:
            assert torch.allclose(found[2], gy.sum((0, 2, 3)))


@settings(max_examples=25, deadline=None)
@given(
    groups=st.integers(1, 3),
    channels=st.integers(1, 9),
    kernel=st.integers(1, 3),
    moves=st.tuples(st.integers(1, 2), st.integers(0, 1), st.integers(1, 2)),
    seed=st.integers(0, 2**31),
)
def test_gradients_of_exact_sums_in_groups(
    groups: int, channels: int, kernel: int, moves: tuple[int, int, int], seed: int
) -> None:
    ops.load()
    torch.manual_seed(seed)
    layer = ScaledCimConv2d(1, 1, 1, ao_bit=1, w_bit=1, adc_bit="fp", value_gradient="ste")
    x = torch.randn(2, channels * groups, 7, 6, requires_grad=True)
    w = torch.randn(2 * groups, channels, kernel, kernel, requires_grad=True)
    stride, padding, dilation = moves
    y = ops.xnor_conv2d(
        x,
        w,
        a=layer.activation,
        w_quantizer=layer.weight_quantizer,
        stride=(stride, stride),
        padding=(padding, padding),
        dilation=(dilation, dilation),
        groups=groups,
    )
    signs = [t.detach().sign().requires_grad_() for t in (x, w)]
    expected = F.conv2d(*signs, None, stride, padding, dilation, groups)
    assert torch.equal(y, expected)
    assert_close(gradients(y, [x, w]), gradients(expected, signs))
