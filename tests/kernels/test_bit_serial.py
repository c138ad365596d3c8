"""bit_serial: every variant equals the specification, with any cells, encodings, mappings and converters."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bnnkit import ops
from bnnkit.cim import Chip, TableCurve, parse_cell
from bnnkit.nn import BitSerialConv2d, BitSerialLinear, backend, images_from

from .problems import every_variant

CELLS = ("ideal", "rram:sigma=0.05", "pcm:time=1000,stuck_off=0.02", "rram-milo:lognormal=0.1")


def _layer(seed: int, channels: int, outputs: int, kernel: int, **options: Any) -> tuple[BitSerialConv2d, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    stride, padding = options.pop("stride", 1), options.pop("padding", 0)
    layer = BitSerialConv2d(channels, outputs, kernel, stride, padding, bias=True, **options).eval()
    layer.requires_grad_(False)
    layer.weight.normal_(0, 0.1, generator=generator)
    assert layer.activation is not None
    layer.activation.alpha.fill_(3.0)
    return layer, torch.rand(2, channels, 4, 5, generator=generator) * 5 - 1


@st.composite
def problems(draw: st.DrawFn) -> tuple[BitSerialConv2d, torch.Tensor, Chip]:
    weight_quant = draw(st.sampled_from(["sawb", "dorefa"]))
    encodings = ["offset", "twos"] + (["differential"] if weight_quant == "sawb" else [])
    mapping = draw(st.sampled_from(["tap", "channel"]))
    layer, x = _layer(
        draw(st.integers(0, 2**31)),
        channels=draw(st.sampled_from([1, 5, 40, 64, 65])),
        outputs=draw(st.sampled_from([1, 5, 33])),
        kernel=draw(st.sampled_from([1, 2, 3])),
        stride=draw(st.sampled_from([1, 2])),
        padding=draw(st.sampled_from([0, 1])),
        ao_bit=draw(st.sampled_from([2, 3, 5])),
        w_bit=draw(st.sampled_from([2, 4, 5])),
        weight_quant=weight_quant,
    )
    chip = Chip(
        rows=draw(st.sampled_from([9, 32, 64, 128, 200])),
        mapping=mapping,
        cell_bit=draw(st.sampled_from([1, 2, 3])),
        encoding=draw(st.sampled_from(encodings)),
        adc_bit=draw(st.sampled_from(["fp", 1, 3, 6, 8])),
        cell=parse_cell(draw(st.sampled_from(CELLS))),
        adc_offset=draw(st.sampled_from([0.0, 0.7])),
        adc_gain=draw(st.sampled_from([0.0, 0.05])),
        seed=draw(st.integers(0, 99)),
    )
    return layer, x, chip


@settings(max_examples=60, deadline=None)
@given(problem=problems())
def test_every_variant_equals_the_specification(problem: tuple[BitSerialConv2d, torch.Tensor, Chip]) -> None:
    layer, x, chip = problem
    layer.program(chip, "full", 1)
    with backend("reference"):
        expected = layer(x)
    for name in every_variant():
        assert torch.equal(layer(x), expected), name
        assert ops.last_variant("bit_serial") == ("avx512" if name == "amx" else name)
    for i in range(len(x)):
        assert torch.equal(layer(x[i : i + 1]), expected[i : i + 1])
    for name in every_variant(threads=2):
        assert torch.equal(layer(x), expected), name


@pytest.mark.parametrize("weight_quant", ["sawb", "dorefa"])
@pytest.mark.parametrize("encoding", ["offset", "twos"])
@pytest.mark.parametrize("cell_bit", [1, 2, 3])
def test_exact_partial_sums_give_the_software_result(cell_bit: int, encoding: Any, weight_quant: str) -> None:
    layer, x = _layer(3, 70, 9, 3, padding=1, ao_bit=4, w_bit=4, weight_quant=weight_quant)
    software = layer(x)
    layer.program(Chip(cell_bit=cell_bit, encoding=encoding, adc_bit="fp"), "full", 1)
    assert torch.allclose(layer(x), software, rtol=1e-6, atol=1e-5)


def test_cells_of_no_variation_are_ideal_cells() -> None:
    layer, x = _layer(4, 130, 20, 3, ao_bit=4, w_bit=4)
    layer.program(Chip(adc_bit=5), "full", 1)
    expected = layer(x)
    # So little noise that every cell rounds to its level: the other engine computes the same.
    layer.program(Chip(adc_bit=5, cell=parse_cell("rram:sigma=1e-9")), "full", 1)
    assert layer.arrays is not None and layer.arrays.cells.data.dtype == torch.int16
    assert torch.equal(layer(x), expected)


@pytest.mark.parametrize("rows", [128, 1024])
@pytest.mark.parametrize("cell", ["ideal", "rram:sigma=0.1"])
def test_large_arrays_and_many_of_them(cell: str, rows: int) -> None:
    generator = torch.Generator().manual_seed(5)
    layer = BitSerialLinear(40_000 if rows == 128 else 2500, 3, ao_bit=2, w_bit=2).eval().requires_grad_(False)
    layer.weight.normal_(generator=generator)
    x = torch.rand(3, layer.in_features, generator=generator) * 12
    layer.program(Chip(rows=rows, adc_bit=8, cell=parse_cell(cell)), "full", 1)
    with backend("reference"):
        expected = layer(x)
    for name in every_variant():
        assert torch.equal(layer(x), expected), name


@pytest.mark.parametrize("cell", ["ideal", "rram:sigma=0.1"])
@pytest.mark.parametrize("cell_bit", [1, 2])
def test_a_non_uniform_converter_is_looked_up(cell_bit: int, cell: str) -> None:
    layer, x = _layer(9, 70, 40, 3, padding=1, ao_bit=3, w_bit=3)
    curve = TableCurve((-6.0, -2.0, 1.0, 3.0, 9.0), (-10.0, -4.0, 0.0, 2.0, 5.0, 14.0))
    layer.program(Chip(cell_bit=cell_bit, cell=parse_cell(cell), curve=curve), "full", 1)
    with backend("reference"):
        expected = layer(x)
    for name in every_variant():
        assert torch.equal(layer(x), expected), name
    layer.program(Chip(cell_bit=cell_bit, cell=parse_cell(cell), adc_bit="fp"), "full", 1)
    assert not torch.equal(layer(x), expected)


def test_read_noise_depends_on_the_image_and_on_nothing_else() -> None:
    layer, x = _layer(6, 70, 40, 3, padding=1, ao_bit=3, w_bit=3)
    layer.program(Chip(adc_bit=6, cell=parse_cell("rram:read=0.05")), "full", 1)
    outputs = []
    for threads in (1, 2):
        for name in every_variant(threads=threads):
            outputs.append(layer(x))
            assert torch.equal(outputs[-1], outputs[0]), name
    with images_from(1):
        second = layer(x[1:])
    assert torch.equal(second, outputs[0][1:])
    assert not torch.equal(layer(x[1:]), second), "another image number, other noise"


@pytest.mark.parametrize("cell", ["ideal", "rram:sigma=0.1,read=0.02"])
@pytest.mark.parametrize("by_column", [False, True])
def test_histograms_count_every_conversion(by_column: bool, cell: str) -> None:
    layer, x = _layer(7, 70, 35, 3, padding=1, ao_bit=3, w_bit=3)
    layer.program(Chip(cell_bit=2, adc_bit=6, cell=parse_cell(cell)), "full", 1)
    arrays = layer.arrays
    assert arrays is not None
    found = []
    for name in every_variant():
        found.append(arrays.observe(x, by_column))
        assert torch.equal(found[-1].counts, found[0].counts), name
    assert found[0].counts.shape[:3] == (3, 2, 35 if by_column else 1)
    assert int(found[0].counts.sum()) == arrays.conversions(4 * 5) * len(x)


def test_wrong_operands_are_refused() -> None:
    layer, x = _layer(8, 5, 3, 3, ao_bit=3, w_bit=3)
    layer.program(Chip(), "full", 1)
    arrays = layer.arrays
    assert arrays is not None and arrays.converters is not None
    bits = ops.pack_pixels(x, layer.activation.levels(), channels_per_array=5)
    with pytest.raises(RuntimeError, match="factor: needed"):
        fewer = replace(arrays.converters, factor=arrays.converters.factor[:, :1].contiguous())
        ops.bit_serial_conv2d(bits, arrays.cells, fewer, layout=arrays.layout, channels=5)
    with pytest.raises(RuntimeError, match="bytes per pixel"):
        ops.bit_serial_conv2d(bits[..., :0], arrays.cells, arrays.converters, layout=arrays.layout, channels=5)
    with pytest.raises(RuntimeError, match="contains NaN"):
        layer(torch.full_like(x, float("nan")))
