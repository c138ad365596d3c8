"""The loop that the kernels are compared with computes the same layers."""

from __future__ import annotations

import pytest
import torch

from bnnkit import nn
from bnnkit.bench.baseline import LoopConv2d, clamp_loop, loop_network
from bnnkit.bench.bit_serial import LOOP_TOLERANCE
from bnnkit.bench.bitplane import remainder_slices, sum_of_slices
from bnnkit.bench.masked import MaskedConv2d
from bnnkit.bench.verify import near
from bnnkit.cim import Chip, parse_cell
from bnnkit.models import create_model
from bnnkit.reference import slice_weights


def layer_and_input(bits: tuple[int, int, int], stride: int = 1) -> tuple[nn.CimConv2d, torch.Tensor]:
    torch.manual_seed(3)
    ao_bit, w_bit, adc_bit = bits
    layer = nn.CimConv2d(30, 8, 3, stride, padding=1, ao_bit=ao_bit, w_bit=w_bit, adc_bit=adc_bit)
    return layer, torch.rand(2, 30, 6, 6) * 2 - 1


@pytest.mark.parametrize("adc_bit", [1, 2, 3, 4])
@pytest.mark.parametrize("stride", [1, 2])
def test_of_binary_values_the_loop_equals_the_reference(adc_bit: int, stride: int) -> None:
    layer, x = layer_and_input((1, 1, adc_bit), stride)
    with nn.backend("reference"):
        expected = layer(x)
    torch.testing.assert_close(LoopConv2d(layer)(x), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("bits", [(2, 2, 2), (4, 4, 4), (1, 3, 2)])
def test_of_more_bits_it_differs_in_sums_on_thresholds_only(bits: tuple[int, int, int]) -> None:
    layer, x = layer_and_input(bits)
    with nn.backend("reference"):
        expected = layer(x)
    assert layer.adc is not None
    steps = (LoopConv2d(layer)(x) - expected) / (2 * layer.adc.scale)
    torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-3)
    assert (steps.round() == 0).float().mean() > 0.95


@pytest.mark.parametrize("adc_bit", [1, 3])
def test_its_gradients_are_those_of_the_reference(adc_bit: int) -> None:
    layer, x = layer_and_input((1, 1, adc_bit))
    gradients = []
    for module, backend in ((LoopConv2d(layer), "auto"), (layer, "reference")):
        inputs = x.clone().requires_grad_()
        with nn.backend(backend):  # type: ignore[arg-type]
            y = module(inputs)
        weights = torch.cos(torch.arange(y.numel(), dtype=torch.float32)).view_as(y)
        parameters = [inputs, layer.weight, layer.bias]
        gradients.append(torch.autograd.grad((y * weights).sum(), parameters))  # type: ignore[arg-type]
    for got, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4)


def test_a_network_of_loops_is_the_same_network() -> None:
    torch.manual_seed(0)
    model = create_model("res20", width=1)
    network = loop_network(model)
    assert not any(isinstance(layer, nn.CimConv2d) for layer in network.modules())
    assert sum(isinstance(layer, LoopConv2d) for layer in network.modules()) == 18
    names = [name for name, _ in model.named_parameters()]
    assert sorted(name for name, _ in network.named_parameters()) == sorted(names)
    x = torch.randn(4, 3, 32, 32)
    with nn.backend("reference"), torch.no_grad():
        assert torch.equal(network(x), model(x))


def test_its_latent_weights_are_clamped() -> None:
    network = loop_network(create_model("res20", width=1))
    for parameter in network.parameters():
        parameter.data.fill_(3)
    clamp_loop(network)
    clamped = [layer.weight for layer in network.modules() if isinstance(layer, LoopConv2d)]
    assert all(float(weight.detach().max()) == 1 for weight in clamped)
    assert float(network.get_parameter("classifier.weight").detach().max()) == 3


@pytest.mark.parametrize("cell_bit", [1, 2])
def test_remainders_are_the_slices(cell_bit: int) -> None:
    w = torch.randint(0, 16, (5, 7), dtype=torch.int32)
    assert torch.equal(remainder_slices(w.float(), 4, cell_bit), slice_weights(w, 4, cell_bit).float())


def test_the_sum_of_the_slices_is_the_weight() -> None:
    w = torch.randint(0, 16, (5, 7), dtype=torch.int32)
    assert torch.equal(sum_of_slices(slice_weights(w, 4, 1)), w)


def chip_layer(chip: Chip, channels: int = 40, stride: int = 1) -> tuple[nn.BitSerialConv2d, torch.Tensor]:
    torch.manual_seed(3)
    layer = nn.BitSerialConv2d(channels, 8, 3, stride, padding=1, ao_bit=4, w_bit=4).eval().requires_grad_(False)
    layer.program(chip, "full", 0)
    return layer, torch.rand(2, channels, 6, 6) * 10


def on_chip(layer: nn.BitSerialConv2d, x: torch.Tensor) -> torch.Tensor:
    with nn.backend("reference"):
        y: torch.Tensor = layer(x)
        return y


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("channels", [16, 40])
def test_of_whole_converter_steps_the_masked_loop_equals_the_reference(channels: int, stride: int) -> None:
    layer, x = chip_layer(Chip(rows=32), channels, stride)
    assert torch.equal(MaskedConv2d(layer)(x), on_chip(layer, x))


@pytest.mark.parametrize("cell", ["ideal", "rram:sigma=0.05"])
@pytest.mark.parametrize("cell_bit", [1, 2])
def test_of_others_it_is_a_rounding_away(cell: str, cell_bit: int) -> None:
    layer, x = chip_layer(Chip(cell_bit=cell_bit, adc_bit=3, cell=parse_cell(cell)))
    loop, expected = MaskedConv2d(layer)(x), on_chip(layer, x)
    assert near(loop, expected, LOOP_TOLERANCE, "all").passed


def test_one_wrong_code_is_more_than_the_tolerance(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = chip_layer(Chip(), channels=128)
    loop = MaskedConv2d(layer)
    right, steps = loop._converted, iter([loop._step[0]])

    def wrong_once(v: torch.Tensor, c: int) -> torch.Tensor:
        value = right(v, c)
        value[0, 0, 0, 0] += next(steps, 0.0)  # of the least significant input bit and slice
        return value

    monkeypatch.setattr(loop, "_converted", wrong_once)
    found = near(loop(x), on_chip(layer, x), LOOP_TOLERANCE, "all")
    assert not found.passed
    assert found.detail.startswith("off by up to 0.00")
