"""Precision-gated convolutions of FracBNN against the formulation of its paper, written with plain torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from bnnkit import reference
from bnnkit.cim import Adc, Array
from bnnkit.nn import (
    Backend,
    CimConv2d,
    GatedConv2d,
    Gates,
    backend,
    clamp_latent,
    gate_sum_of_squares,
    gated_layers,
    take_gates,
)

BACKENDS: list[Backend] = ["reference", "torch", "packed"]
PATHS = {"reference": ("reference", "reference"), "torch": ("torch", "loop"), "packed": ("xnor", "adc")}
"""What computes a layer without and with converters."""


def drawn(seed: int, **options: Any) -> GatedConv2d:
    """Return a layer half of whose gates open."""
    torch.manual_seed(seed)
    layer = GatedConv2d(**{"kernel_size": 3, "w_bit": 1, "adc_bit": "fp", **options})
    nn.init.normal_(layer.weight)
    width = 1.0 if layer.adc is None else layer.adc.rows / 3
    with torch.no_grad():
        layer.threshold.normal_(0, width * layer.weight[0].numel() ** 0.5)
    return layer


def straight_through(x: Tensor, value: Tensor) -> Tensor:
    return x + (value - x).detach()


def two_bits(x: Tensor) -> Tensor:
    """Return -1, -1/3, 1/3 or 1, whichever is nearest; gradients pass inside (-1, 1)."""
    return straight_through(x * (x.abs() < 1), ((x.clamp(-1, 1) + 1) * 1.5).round() / 1.5 - 1)


def paper(x: Tensor, weight: Tensor, threshold: Tensor, stride: int, padding: int) -> tuple[Tensor, Tensor]:
    """Return the gated convolution and which gates were open."""
    value = two_bits(x)
    signs = straight_through(weight * (weight.abs() <= 1.3), torch.where(weight >= 0, 1.0, -1.0))
    high = straight_through(value, torch.where(value >= 0, 1.0, -1.0)) * 2 / 3
    low = value - high
    by_high = F.conv2d(high, signs, None, stride, padding)
    excess = by_high - threshold.view(1, -1, 1, 1)
    opens = (torch.sigmoid(5 * excess) > 0.5).float()
    soft = torch.sigmoid(5 * excess) * opens  # gradients pass where the gate is open
    gate = opens + soft - soft.detach()
    return by_high + gate * F.conv2d(low, signs, None, stride, padding), opens


def gradients(y: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    direction = torch.randn(y.shape, generator=torch.Generator().manual_seed(2))
    return list(torch.autograd.grad((y * direction).sum(), inputs))


def assert_close(found: list[Tensor], expected: list[Tensor]) -> None:
    for f, e in zip(found, expected, strict=True):
        assert (f - e).abs().max() <= 1e-4 * e.abs().max().clamp_min(0.1)


@settings(max_examples=30, deadline=None)
@given(
    in_channels=st.integers(1, 70),
    out_channels=st.integers(1, 5),
    kernel_size=st.sampled_from([1, 2, 3]),
    stride=st.integers(1, 2),
    padding=st.integers(0, 1),
    name=st.sampled_from(BACKENDS),
    seed=st.integers(0, 2**31),
)
def test_convolution_is_that_of_the_paper(name: Backend, seed: int, **options: Any) -> None:
    layer = drawn(seed, **options)
    x = torch.randn(2, options["in_channels"], 6, 5, requires_grad=True)
    inputs = [x, layer.weight, layer.threshold]
    expected, opens = paper(*inputs, options["stride"], options["padding"])
    with backend(name):
        y = layer(x)
        evaluated = layer.eval()(x)
    assert_close([y, evaluated], [expected, expected])
    assert_close(gradients(y, inputs), gradients(expected, inputs))
    assert take_gates(layer) == Gates(int(opens.sum()), opens.numel())


@settings(max_examples=30, deadline=None)
@given(
    in_channels=st.integers(1, 70),
    kernel_size=st.sampled_from([1, 3]),
    stride=st.integers(1, 2),
    adc_bit=st.sampled_from(["fp", 1, 2, 4]),
    rows=st.integers(9, 150),
    mapping=st.sampled_from(["channel", "tap"]),
    seed=st.integers(0, 2**31),
)
def test_backends_agree(kernel_size: int, rows: int, mapping: Any, seed: int, **options: Any) -> None:
    array = Array(rows, mapping)
    layer = drawn(seed, out_channels=3, kernel_size=kernel_size, padding=kernel_size // 2, array=array, **options)
    x = torch.randn(2, layer.in_channels, 5, 6, requires_grad=True)
    inputs = [x, layer.weight, layer.threshold]
    outputs, slopes, counts = [], [], []
    for name in BACKENDS:
        with backend(name):
            assert layer.path() == PATHS[name][layer.adc is not None]
            slopes.append(gradients(layer.train()(x), inputs))
            outputs.append(layer.eval()(x))
            counts.append(take_gates(layer))
    for other in (1, 2):
        assert torch.equal(outputs[other], outputs[0])
        assert counts[other] == counts[0]
        assert_close(slopes[other], slopes[0])


@pytest.mark.parametrize("adc_bit", ["fp", 1, 2, 4])
@pytest.mark.parametrize("name", BACKENDS)
def test_evaluation_is_two_conversions_and_a_gate(adc_bit: Any, name: Backend) -> None:
    layer = drawn(3, in_channels=20, out_channels=6, padding=1, adc_bit=adc_bit).eval()
    x = torch.randn(3, 20, 7, 6)
    code = reference.nearest_code(x, 2).long()
    signs = torch.where(layer.weight >= 0, 1.0, -1.0)
    sums, unit = [], 1.0
    for plane in (code >> 1, code & 1):
        bits = 2 * plane.double() - 1
        if layer.adc is None:
            sums.append(F.conv2d(bits, signs.double(), None, 1, 1).long())
            continue
        unit = layer.adc.scale
        total = torch.zeros(3, 6, 7, 6, dtype=torch.int64)
        for first in range(0, 20, 128 // 9):  # the channels that share an array
            held = slice(first, first + 128 // 9)
            partial = F.conv2d(bits[:, held], signs[:, held].double(), None, 1, 1)
            total += (reference.adc(partial, adc_bit, 128) / unit).round().long()
        sums.append(total)
    high, low = sums
    opens = (unit * high.double()).float() * 2 / 3 - layer.threshold.view(1, -1, 1, 1) > 0
    expected = (reference.gated_sums(high, low, opens).double() * unit / 3).float()
    with backend(name):
        y = layer(x)
    assert torch.allclose(y, expected, rtol=1e-6, atol=0)
    assert ((y.double() * 3 / unit).round() == reference.gated_sums(high, low, opens)).all()
    assert take_gates(layer) == Gates(int(opens.sum()), opens.numel())
    assert 0.1 < opens.float().mean() < 0.9


def test_a_gate_on_its_threshold_stays_closed() -> None:
    layer = GatedConv2d(3, 1, 1, w_bit=1, adc_bit="fp").eval()
    with torch.no_grad():
        layer.weight.fill_(1)
        layer.threshold.fill_(2)
    x = torch.full((1, 3, 1, 1), 0.4)  # the code of 1/3: high bit 1, low bit -1
    assert layer(x).item() == 2.0
    assert take_gates(layer) == Gates(0, 1)
    with torch.no_grad():
        layer.threshold.copy_(torch.nextafter(layer.threshold, torch.tensor(0.0)))
    assert layer(x).item() == 1.0
    assert take_gates(layer) == Gates(1, 1)


def test_converters_with_levels_off_the_grid() -> None:
    layer = drawn(4, in_channels=30, out_channels=4, padding=1, adc_bit=2)
    layer.adc = Adc.from_table([-20, 0, 30], [-3, 0, 3, 6], rows=128)
    assert layer.adc is not None
    assert layer.adc.offset != 0
    with torch.no_grad():
        layer.threshold.uniform_(-5, 5)
    x = torch.randn(2, 30, 6, 6)
    assert torch.allclose(layer.eval()(x), layer.train()(x), rtol=1e-5, atol=1e-5)
    found = []
    for name in BACKENDS:
        with backend(name):
            found.append(layer.eval()(x))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    gates = take_gates(layer)
    assert gates is not None
    assert 0 < gates.open < gates.outputs


@pytest.mark.parametrize("training", [True, False])
def test_full_precision_weights_of_the_first_step(training: bool) -> None:
    layer = drawn(5, in_channels=6, out_channels=4, padding=1, w_bit="fp").train(training)
    x = torch.randn(2, 6, 5, 5)
    value = two_bits(x)
    high = torch.where(value >= 0, 1.0, -1.0)
    by_high, by_low = (F.conv2d(part, layer.weight, None, 1, 1) for part in (high * 2 / 3, value - high * 2 / 3))
    opens = by_high > layer.threshold.view(1, -1, 1, 1)
    assert_close([layer(x)], [by_high + opens * by_low])
    assert take_gates(layer) == (Gates(0, 0) if training else Gates(int(opens.sum()), opens.numel()))


def test_activations_have_two_bits_and_latent_weights_stay_free() -> None:
    layer = drawn(6, in_channels=2, out_channels=3)
    assert (layer.ao_bit, layer.w_bit) == (2, 1)
    assert layer.bias is None
    before = layer.weight.detach().clone()
    assert before.abs().max() > 1
    clamp_latent(layer)
    assert torch.equal(layer.weight, before)
    assert torch.equal(GatedConv2d(2, 3, 1, w_bit=1, adc_bit=1).threshold, -torch.ones(3))


def test_gates_are_counted_in_evaluation_and_reading_starts_anew() -> None:
    layers = nn.Sequential(
        drawn(7, in_channels=3, out_channels=4, padding=1),
        nn.BatchNorm2d(4),
        drawn(8, in_channels=4, out_channels=5, padding=1),
    )
    x = torch.randn(2, 3, 5, 5)
    layers(x)
    assert take_gates(layers) == Gates(0, 0)
    layers.eval()
    layers(x)
    once = take_gates(layers)
    assert once is not None
    assert once.outputs == 2 * 25 * (4 + 5)
    assert take_gates(layers) == Gates(0, 0)
    layers(x), layers(x)
    assert take_gates(layers) == once + once
    assert (once + once).activation_bits == once.activation_bits == 1 + once.open / once.outputs
    assert gated_layers(layers) == [layers[0], layers[2]]


def test_layers_without_gates_have_nothing_to_count() -> None:
    layers = nn.Sequential(CimConv2d(1, 1, 1, ao_bit=1, w_bit=1, adc_bit=1), nn.ReLU())
    assert take_gates(layers) is None
    assert gate_sum_of_squares(layers, 1.0) is None
    assert Gates(0, 0).activation_bits == 1.0


def test_the_penalty_pulls_thresholds_to_the_target() -> None:
    layers = nn.Sequential(GatedConv2d(2, 3, 1, w_bit=1, adc_bit="fp"), GatedConv2d(3, 2, 1, w_bit="fp", adc_bit="fp"))
    with torch.no_grad():
        for layer, values in zip(gated_layers(layers), ([1.0, 2.0, -1.0], [0.5, 4.0]), strict=True):
            layer.threshold.copy_(torch.tensor(values))
    penalty = gate_sum_of_squares(layers, 2.0)
    assert penalty is not None
    assert penalty.item() == 1 + 0 + 9 + 2.25 + 4
    penalty.backward()
    found = [layer.threshold.grad.tolist() for layer in gated_layers(layers) if layer.threshold.grad is not None]
    assert found == [[-2.0, 0.0, -6.0], [-3.0, 4.0]]
    assert all(layer.weight.grad is None for layer in gated_layers(layers))
