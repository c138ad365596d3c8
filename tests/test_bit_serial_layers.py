"""Layers of low-precision networks: in training, in software, on chips; and the traps of the origin's arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnnkit import ops
from bnnkit.cim import Cell, Chip, Histogram, Method, Ranges, parse_cell
from bnnkit.errors import MismatchError, MissingError, UsageError
from bnnkit.models import create_model
from bnnkit.nn import (
    BitSerial,
    BitSerialConv2d,
    BitSerialLinear,
    arrays_of,
    backend,
    chip_layers,
    conversions_per_image,
    observe,
    program,
)

QUANTS = ("sawb", "dorefa")


def _compiled() -> None:
    try:
        ops.load()
    except MissingError as missing:
        pytest.skip(str(missing))


@pytest.fixture(params=["auto", "reference"])
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run a test in the compiled kernels, and again in the specification."""
    if request.param == "auto":
        _compiled()
    with backend(request.param):
        yield request.param


def _prepared(layer: Any, seed: int = 1, alpha: float = 3.0) -> Any:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        layer.weight.normal_(0, 0.1, generator=generator)
        if layer.bias is not None:
            layer.bias.normal_(generator=generator)
        if layer.activation is not None:
            layer.activation.alpha.fill_(alpha)
    return layer.eval().requires_grad_(False)


def _conv(channels: int = 20, outputs: int = 6, **options: Any) -> BitSerialConv2d:
    options = {"ao_bit": 4, "w_bit": 4, "padding": 1, **options}
    layer: BitSerialConv2d = _prepared(BitSerialConv2d(channels, outputs, 3, **options))
    return layer


def _images(channels: int, count: int = 3, size: int = 5) -> Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(9)) * 5 - 1


def _in_integers(layer: BitSerialConv2d, x: Tensor) -> Tensor:
    """Return the layer's meaning: whole numbers multiplied and added, scaled once."""
    assert layer.activation is not None
    integers, unit = layer.weight_quantizer.integers(layer.weight)
    sums = F.conv2d(layer.activation.code(x).double(), integers.double(), None, layer.stride, layer.padding)  # type: ignore[arg-type]
    y = sums / (layer.activation.unit.double() * unit.double())
    return (y if layer.bias is None else y + layer.bias.double().view(-1, 1, 1)).float()


@pytest.mark.parametrize("weight_quant", QUANTS)
def test_training_is_value_quantization_with_its_gradients(weight_quant: str) -> None:
    layer = _conv(bias=True, weight_quant=weight_quant).train().requires_grad_(True)
    assert layer.activation is not None and layer.bias is not None
    x = _images(20).requires_grad_()
    y = layer(x)
    x_value = layer.activation(x.detach()).detach().requires_grad_()
    w_value = layer.weight_quantizer(layer.weight.detach()).detach().requires_grad_()
    expected = F.conv2d(x_value, w_value, layer.bias, padding=1)
    assert torch.equal(y, expected)
    gradient = torch.randn(y.shape, generator=torch.Generator().manual_seed(2))
    gx, gw = torch.autograd.grad(expected, (x_value, w_value), gradient)
    y.backward(gradient)
    assert x.grad is not None and layer.weight.grad is not None and layer.bias.grad is not None
    alpha = layer.activation.alpha
    assert alpha.grad is not None
    inside, above = (x >= 0) & (x < 3), x >= 3
    assert 0 < inside.sum() < x.numel() and above.any()
    assert torch.allclose(x.grad, gx * inside)
    assert torch.allclose(alpha.grad, (gx * above).sum(), rtol=1e-4)
    slope = 1.0 if weight_quant == "sawb" else 1 / layer.weight.detach().abs().max()
    assert torch.allclose(layer.weight.grad, gw * slope, rtol=1e-5)
    assert torch.allclose(layer.bias.grad, gradient.sum((0, 2, 3)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("ao_bit", [2, 4, 8])
@pytest.mark.parametrize("w_bit", [2, 3, 8])
@pytest.mark.parametrize("weight_quant", QUANTS)
def test_evaluation_is_exact_and_agrees_with_training(weight_quant: str, w_bit: int, ao_bit: int) -> None:
    layer = _conv(bias=True, weight_quant=weight_quant, ao_bit=ao_bit, w_bit=w_bit)
    x = _images(20)
    y = layer(x)
    assert torch.equal(y, _in_integers(layer, x))
    assert torch.allclose(y, layer.train()(x), atol=1e-4)


@pytest.mark.parametrize("weight_quant", QUANTS)
def test_software_does_not_depend_on_the_batch(weight_quant: str) -> None:
    # Many terms of many bits: their sums leave what is exact in float32.
    conv = _conv(300, bias=True, ao_bit=8, w_bit=8, weight_quant=weight_quant)
    linear = _prepared(BitSerialLinear(2000, 7, ao_bit=8, w_bit=8, weight_quant=weight_quant))
    for layer, x in ((conv, _images(300, 5)), (linear, _images(80, 5)[:, :, 0].repeat(1, 5, 1).flatten(1))):
        whole = layer(x)
        for i in range(5):
            assert torch.equal(layer(x[i : i + 1]), whole[i : i + 1])


@pytest.mark.parametrize("weight_quant", QUANTS)
def test_large_sums_are_exact(weight_quant: str) -> None:
    layer, x = _conv(700, ao_bit=8, w_bit=8, weight_quant=weight_quant, bias=True), _images(700).abs()
    layer.weight.abs_()
    assert layer.activation is not None
    integers, _ = layer.weight_quantizer.integers(layer.weight)
    assert F.conv2d(layer.activation.code(x).double(), integers.double()).max() > 2**24
    assert torch.equal(layer(x), _in_integers(layer, x))


def test_a_linear_layer_is_a_convolution_of_one_pixel(way: str) -> None:
    linear = _prepared(BitSerialLinear(150, 9, ao_bit=3, w_bit=4))
    conv = BitSerialConv2d(150, 9, 1, bias=True, ao_bit=3, w_bit=4).eval().requires_grad_(False)
    conv.load_state_dict(
        {name: v[..., None, None] if name == "weight" else v for name, v in linear.state_dict().items()}
    )
    x = _images(150, 4, 1)
    assert torch.equal(linear(x.flatten(1)), conv(x).flatten(1))
    for layer in (linear, conv):
        layer.program(Chip(adc_bit=5), "full", 0)
    assert linear.arrays.layout.arrays == 2
    assert torch.equal(linear(x.flatten(1)), conv(x).flatten(1))


def test_a_first_layer_reads_full_precision() -> None:
    layer = _conv(3, bias=True, ao_bit=None)
    assert layer.activation is None and layer.ao_bit == "fp"
    x = _images(3, 4)
    weight, bias = layer.weight_quantizer(layer.weight), layer.bias
    assert bias is not None
    y = layer(x)
    assert torch.equal(y, F.conv2d(x.double(), weight.double(), bias.double(), padding=1).float())
    assert torch.equal(layer.train()(x), F.conv2d(x, weight, bias, padding=1))
    assert torch.equal(layer.eval()(x[2:3]), y[2:3])
    with pytest.raises(UsageError, match="inputs in full precision"):
        layer.program(Chip(), "full", 0)
    assert chip_layers(nn.Sequential(layer)) == {}


def test_integer_weights() -> None:
    sawb, dorefa = _conv(), _conv(weight_quant="dorefa")
    for layer, step in ((sawb, 1), (dorefa, 2)):
        stored, (integers, _) = layer.integer_weight(), layer.weight_quantizer.integers(layer.weight)
        assert stored.dtype == torch.int32
        assert torch.equal(step * stored - (step - 1), integers.int())
    assert int(sawb.integer_weight().abs().max()) == 7
    assert int(dorefa.integer_weight().min()) >= -7 and int(dorefa.integer_weight().max()) <= 8


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"ao_bit": 1}, "activations: 1 bits; 2 to 8 were needed"),
        ({"ao_bit": 9}, "activations: 9 bits"),
        ({"w_bit": 1}, "weights: 1 bits; 2 to 8 were needed"),
        ({"w_bit": 9}, "weights: 9 bits"),
        ({"weight_quant": "sawbs"}, "unknown weight quantizer 'sawbs'"),
    ],
)
def test_impossible_layers_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        BitSerialConv2d(3, 4, 3, **{"ao_bit": 4, "w_bit": 4, **options})
    with pytest.raises(UsageError, match=text):
        BitSerialLinear(3, 4, **{"ao_bit": 4, "w_bit": 4, **options})


# The traps of the origin's arrays.


@pytest.mark.parametrize("mapping", ["tap", "channel"])
def test_channels_beyond_a_multiple_of_the_rows_are_kept(way: str, mapping: Any) -> None:
    layer = _conv(130)
    x = _images(130)
    software = layer(x)
    chip = Chip(rows=128, mapping=mapping, adc_bit="fp")
    layer.program(chip, "full", 0)
    assert layer.arrays is not None
    assert layer.arrays.layout.arrays == (2 * 9 if mapping == "tap" else 10)
    assert torch.allclose(layer(x), software, rtol=1e-6, atol=1e-5)
    # The last two channels, and they alone, reach converters of their own.
    layer.program(replace(chip, adc_bit=6), "full", 0)
    before, other = layer(x), x.clone()
    other[:, 128:] = 5 - other[:, 128:]
    assert not torch.equal(layer(other), before)


@pytest.mark.parametrize("mapping", ["tap", "channel"])
def test_few_channels_have_converters_too(way: str, mapping: Any) -> None:
    layer = _conv(5)
    x = _images(5)
    software = layer(x)
    layer.program(Chip(rows=128, mapping=mapping, adc_bit="fp"), "full", 0)
    assert torch.allclose(layer(x), software, rtol=1e-6, atol=1e-5)
    layer.program(Chip(rows=128, mapping=mapping, adc_bit=3), "full", 0)
    assert ((layer(x) - software).abs() > 0.1).double().mean() > 0.5
    low = torch.zeros(1, 4, 1, dtype=torch.float64)
    layer.program(Chip(rows=128, mapping=mapping, adc_bit=1), (low, low + 2), 0)  # levels 0 and 1 of up to 5
    assert ((layer(x) - software).abs() > 0.1).double().mean() > 0.5


# DoReFa's 2^b levels do not fit two cells of 2^(b-1) - 1 each.
@pytest.mark.parametrize(
    ("weight_quant", "encoding"),
    [("sawb", "offset"), ("sawb", "twos"), ("sawb", "differential"), ("dorefa", "offset"), ("dorefa", "twos")],
)
@pytest.mark.parametrize(("w_bit", "cell_bit"), [(4, 3), (5, 2), (8, 3), (3, 4)])
def test_bits_beyond_a_multiple_of_the_cells_are_kept(
    way: str, w_bit: int, cell_bit: int, encoding: Any, weight_quant: str
) -> None:
    layer = _conv(40, 12, w_bit=w_bit, weight_quant=weight_quant, bias=True)
    assert int(layer.integer_weight().abs().max()) > 2 ** (w_bit - 2), "all bits are used"
    x = _images(40)
    software = layer(x)
    layer.program(Chip(cell_bit=cell_bit, encoding=encoding, adc_bit="fp"), "full", 0)
    assert layer.arrays is not None
    assert sum(layer.arrays.slicing.widths) == w_bit - (encoding == "differential")
    assert torch.allclose(layer(x), software, rtol=1e-6, atol=1e-5)


def _network(seed: int = 1) -> nn.Sequential:
    network = nn.Sequential(
        BitSerialConv2d(3, 20, 3, padding=1, ao_bit=None, w_bit=4),
        nn.ReLU(),
        BitSerialConv2d(20, 12, 3, padding=1, ao_bit=3, w_bit=4),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        BitSerialLinear(48, 5, ao_bit=3, w_bit=4),
    )
    for layer in network:
        if isinstance(layer, BitSerial):
            _prepared(layer, seed, alpha=2.0)
    return network.eval()


def _same_for_every_batch(network: nn.Module, x: Tensor) -> bool:
    whole = network(x)
    parts = [torch.cat([network(part) for part in x.split(size)]) for size in (1, 2)]
    return all(torch.equal(part, whole) for part in parts)


def _calibrated(network: nn.Module, chip: Chip, x: Tensor, text: str = "mse", scope: Any = "slice") -> Ranges:
    assert chip.adc_bit != "fp"
    seen = observe(network, chip, [x], by_column=scope == "column")
    return Ranges.from_histograms(seen, Method.parse(text), scope, chip.adc_bit, {"arrays": arrays_of(chip)})


@pytest.mark.parametrize("cell", ["ideal", "rram:sigma=0.1"])
def test_static_ranges_do_not_depend_on_the_batch_and_those_of_the_batch_do(way: str, cell: str) -> None:
    network, x, chip = _network(), _images(3, 5), Chip(adc_bit=4, cell=parse_cell(cell))
    program(network, chip, "full")
    assert _same_for_every_batch(network, x)
    program(network, chip, "batch")
    assert not _same_for_every_batch(network, x)


@pytest.mark.parametrize("scope", ["layer", "slice", "input-bit", "column"])
def test_calibrated_ranges_do_not_depend_on_the_batch(scope: str) -> None:
    _compiled()
    network, x, chip = _network(), _images(3, 5), Chip(adc_bit=5)
    software = network(x)
    ranges = _calibrated(network, chip, x, scope=scope)
    program(network, chip, "full")
    everything = network(x)
    program(network, chip, ranges)
    assert _same_for_every_batch(network, x)
    calibrated = network(x)
    assert ((calibrated - software) ** 2).mean() < ((everything - software) ** 2).mean()
    with backend("reference"):
        assert torch.equal(network(x), calibrated)


# Networks on chips.


def test_no_chip_restores_software(way: str) -> None:
    network, x = _network(), _images(3)
    software = network(x)
    keys = list(network.state_dict())
    program(network, Chip(adc_bit=2))
    assert not torch.equal(network(x), software)
    assert list(network.state_dict()) == keys
    program(network, None)
    assert torch.equal(network(x), software)
    assert all(layer.arrays is None for layer in chip_layers(network).values())


def test_a_chip_keeps_what_it_was_programmed_with(way: str) -> None:
    network, x, chip = _network(), _images(3), Chip(adc_bit=4)
    program(network, chip)
    before = network(x)
    with torch.no_grad():
        for layer in chip_layers(network).values():
            layer.weight.mul_(-1)
            assert layer.activation is not None
            layer.activation.alpha.mul_(1.5)
    assert torch.equal(network(x), before)
    program(network, chip)
    assert not torch.equal(network(x), before)
    again = network(x)
    program(network, chip)
    assert torch.equal(network(x), again)


def test_training_takes_no_notice_of_a_chip(way: str) -> None:
    layer, x = _conv(), _images(20)
    expected = layer.train()(x)
    layer.eval().program(Chip(adc_bit=1), "full", 0)
    assert torch.equal(layer.train()(x), expected)
    assert not torch.allclose(layer.eval()(x), expected, atol=0.1)


def test_only_layers_of_low_precision_are_programmed() -> None:
    network = _network()
    assert list(chip_layers(network)) == ["2", "6"]
    program(network, Chip())
    assert isinstance(network[0], BitSerial) and network[0].arrays is None


@pytest.mark.parametrize("name", ["mlp", "vgg7"])
def test_a_network_without_such_layers_is_refused(name: str) -> None:
    options = {"mlp": {}, "vgg7": {"ao_bit": "fp"}}[name]
    model = create_model(name, width=1, in_shape=(1, 8, 8), **options)
    for chip in (Chip(), None):
        with pytest.raises(UsageError, match="no layer with low-bit inputs and weights"):
            program(model, chip)


def _full_ranges(chip: Chip) -> Ranges:
    counts = torch.ones(1, 4, 1, 20, dtype=torch.int64)
    seen = {name: Histogram(counts, -10, 0) for name in ("2", "6")}
    return Ranges.from_histograms(seen, Method("max"), "slice", 6, {"arrays": arrays_of(chip)})


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"rows": 64}, "calibration: made for other arrays (rows 128 instead of 64)"),
        ({"cell_bit": 2}, "calibration: made for other arrays (cell_bit 1 instead of 2)"),
        ({"encoding": "twos"}, "calibration: made for other arrays (encoding offset instead of twos)"),
        (
            {"mapping": "channel", "channels_per_array": 3},
            "calibration: made for other arrays (mapping tap instead of channel, channels_per_array None instead of 3)",
        ),
    ],
    ids=str,
)
def test_ranges_of_other_arrays_are_refused(changes: dict[str, Any], text: str) -> None:
    network, chip = _network(), Chip()
    ranges = _full_ranges(chip)
    program(network, chip, ranges)
    with pytest.raises(MismatchError) as error:
        program(network, replace(chip, **changes), ranges)
    assert error.value.message == text
    # Converters, cells and seeds may differ.
    program(network, replace(chip, adc_bit=4, seed=3, cell=Cell(sigma=0.1)), ranges)


def test_ranges_of_other_layers_are_refused() -> None:
    network, chip = _network(), Chip()
    ranges = _full_ranges(chip)
    some = Ranges({"2": ranges.bounds["2"]}, ranges.metadata)
    with pytest.raises(MismatchError, match="no ranges for layer 6; all 2 layers were needed"):
        program(network, chip, some)
    wide = torch.zeros(1, 5, 1, dtype=torch.float64)
    other = Ranges({**ranges.bounds, "6": (wide, wide + 1)}, ranges.metadata)
    with pytest.raises(MismatchError, match=r"ranges \[1, 5, 1\] for layer 1; \[1 or 3, 4, 1 or 5\] input bits"):
        program(network, chip, other)


def test_chips_of_varying_cells_differ_and_ideal_ones_do_not(way: str) -> None:
    network, x = _network(), _images(3)

    def outputs(cell: str, seed: int) -> Tensor:
        program(network, Chip(adc_bit=6, cell=parse_cell(cell), seed=seed))
        y: Tensor = network(x)
        return y

    for cell in ("rram:sigma=0.05", "rram:stuck_off=0.1", "pcm:time=1000"):
        first = outputs(cell, 1)
        assert not torch.equal(outputs(cell, 2), first)
        assert torch.equal(outputs(cell, 1), first)
    assert torch.equal(outputs("ideal", 1), outputs("ideal", 2))
    assert not torch.equal(outputs("rram:sigma=0.05", 1), outputs("ideal", 1))


def test_layers_of_one_chip_do_not_share_their_devices(way: str) -> None:
    x, chip = _images(20), Chip(adc_bit="fp", cell=Cell(sigma=0.1))
    outputs = []
    for number in (0, 1):
        layer = _conv()
        layer.program(chip, "full", number)
        outputs.append(layer(x))
    assert not torch.equal(*outputs)


@pytest.mark.parametrize("error", ["adc_offset", "adc_gain"])
def test_converters_have_errors_of_their_own(way: str, error: str) -> None:
    layer, x = _conv(), _images(20)

    def outputs(spread: float, seed: int, adc_bit: Any = 6) -> Tensor:
        chip = Chip(adc_bit=adc_bit, seed=seed, **{error: spread})  # type: ignore[arg-type]
        layer.program(chip, "full", 0)
        return layer(x)

    exact, first = outputs(0.0, 1), outputs(0.4, 1)
    changed = (first != exact).flatten(2).any(2).any(0)
    assert changed.double().mean() > 0.5, "most columns err"
    assert torch.equal(outputs(0.4, 1), first)
    assert not torch.equal(outputs(0.4, 2), first)
    assert torch.equal(outputs(0.0, 2), exact)
    assert torch.equal(outputs(0.4, 1, "fp"), outputs(0.0, 1, "fp")), "there is no converter to err"


def test_an_offset_by_hand(way: str) -> None:
    layer = BitSerialLinear(3, 40, bias=False, ao_bit=2, w_bit=2).eval().requires_grad_(False)
    layer.weight.fill_(1.0)  # every weight is 1: stored 2, one more than the offset
    assert layer.activation is not None
    layer.activation.alpha.fill_(3.0)
    zeros = torch.zeros(1, 1, 1, dtype=torch.float64)
    x = torch.tensor([[1.0, 0.0, 0.0]])
    chip = Chip(cell_bit=2, adc_bit=4, adc_offset=0.5)
    layer.program(chip, (zeros - 8, zeros + 8), 0)
    # Partial sum 1 of the first input bit, 0 of the second, in steps of 1: an offset is rounded, and counts 3 times.
    errors = ((layer(x) - 1) / 3).flatten()
    assert torch.allclose(errors, errors.round(), atol=1e-6)
    assert errors.unique().numel() >= 3
    shares = [float((errors == value).double().mean()) for value in (-1, 0, 1)]
    assert shares[1] == pytest.approx(0.68, abs=0.25) and sum(shares) > 0.9


def test_weights_that_an_encoding_cannot_hold_are_refused() -> None:
    layer = _conv(weight_quant="dorefa")
    layer.weight[0, 0, 0, 0] = -layer.weight.abs().max() * 1.1
    with pytest.raises(UsageError, match="slicing: weights -8 to"):
        layer.program(Chip(encoding="differential"), "full", 0)
    assert layer.arrays is None


def test_more_rows_than_a_partial_sum_has_room_for_are_refused() -> None:
    with pytest.raises(UsageError, match="4096 rows of 4-bit cells sum up to 61440; at most 32767 was needed"):
        _conv().program(Chip(rows=4096, cell_bit=4), "full", 0)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"adc_bit": 0}, "0-bit converters; 1 to 8 bits or fp were needed"),
        ({"adc_bit": 9}, "9-bit converters"),
        ({"adc_offset": -1.0}, "adc_offset -1.0; 0 or more was needed"),
        ({"adc_gain": float("nan")}, "adc_gain nan"),
        ({"cell_bit": 5}, "5-bit cells"),
        ({"encoding": "plain"}, "encoding 'plain'"),
        ({"rows": 0}, "0 rows"),
        ({"mapping": "row"}, "mapping 'row' is unknown"),
    ],
    ids=str,
)
def test_impossible_chips_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        Chip(**options)


@pytest.mark.parametrize(("encoding", "slices"), [("offset", 2), ("twos", 3), ("differential", 2)])
def test_conversions_by_hand(way: str, encoding: Any, slices: int) -> None:
    network = _network()
    program(network, Chip(rows=16, cell_bit=2, encoding=encoding))
    # 20 channels fill two arrays of each of 9 taps, 48 inputs three; 3 input bits.
    expected = 25 * 2 * 9 * 3 * slices * 12 + 3 * 3 * slices * 5
    assert conversions_per_image(network, _images(3, 1)) == expected
    assert all(not layer._forward_hooks for layer in network)


def test_partial_sums_are_counted_whatever_the_batch() -> None:
    _compiled()
    network, x, chip = _network(), _images(3, 5), Chip(cell_bit=2, adc_bit=4)
    program(network, chip)
    conversions = conversions_per_image(network, x[:1])
    for by_column, columns in ((False, 1), (True, 12)):
        whole = observe(network, chip, [x], by_column=by_column)
        assert list(whole) == ["2", "6"]
        assert whole["2"].counts.shape[:3] == (3, 2, columns)
        assert sum(int(seen.counts.sum()) for seen in whole.values()) == 5 * conversions
        for name, seen in observe(network, chip, x.split(2), by_column=by_column).items():
            assert torch.equal(seen.counts, whole[name].counts)
    assert all(layer.arrays is None for layer in chip_layers(network).values()), "in software again"
    assert all(not layer._forward_pre_hooks for layer in network)
    low, high = _calibrated(network, chip, x, "max").bounds["2"]
    assert whole["2"].clipped(low - 1, high) == 0


def test_the_invariance_check_can_name_bit_serial_layers() -> None:
    from bnnkit.train.invariance import _trace

    assert {"0", "2", "6"} <= _trace(_network(), _images(3, 1), 0).keys()


def test_read_noise_needs_the_kernels() -> None:
    layer = _conv()
    layer.program(Chip(cell=Cell(read=0.05)), "full", 0)
    with backend("reference"), pytest.raises(UsageError, match="read noise needs the compiled kernels"):
        layer(_images(20))
