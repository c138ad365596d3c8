"""Converters in integer form equal their float curves; layouts place every input once."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bnnkit import reference
from bnnkit.cim import CURVES, DEFAULT_SIGMA, Adc, Array, make_adc, parse_adc_bits
from bnnkit.errors import UsageError

UNITS = [a * w for a, w in itertools.combinations_with_replacement([1, 2, 3, 7, 15], 2)]


def _integer_codes(adc: Adc, unit: int, reach: int) -> torch.Tensor:
    sums = torch.arange(-reach * unit, reach * unit + 1)
    return (sums[:, None] >= adc.thresholds(unit, reach)).sum(1)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([1, 2, 3, 4]), st.integers(1, 300), st.sampled_from(UNITS), st.data())
def test_thresholds_reproduce_the_float_curve(bits: int, rows: int, unit: int, data: st.DataObject) -> None:
    reach = data.draw(st.integers(1, rows))
    adc = Adc(bits, rows)
    ps = torch.arange(-reach * unit, reach * unit + 1).float() / unit
    codes = _integer_codes(adc, unit, reach)
    assert torch.equal(codes, reference.adc_code(ps, bits, rows).long())
    converted = (adc.offset + adc.scale * adc.levels[codes].double()).float()
    assert torch.equal(converted, adc.convert(ps))
    assert torch.allclose(converted, reference.adc(ps, bits, rows), atol=1e-4)


def test_sense_amplifier_reads_a_tie_as_minus_full_scale() -> None:
    adc = Adc(1, 128)
    assert adc.thresholds(1).tolist() == [1]
    assert adc.convert(torch.tensor([-1.0, 0.0, 1.0])).tolist() == [-128, -128, 128]


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_gradient_table_is_the_gradient_of_convert(bits: int) -> None:
    adc = Adc(bits, 20)
    ps = (torch.arange(-60, 61).float() / 3).requires_grad_()
    (grad,) = torch.autograd.grad(adc.convert(ps).sum(), ps)
    assert torch.equal(grad, adc.gradient_table(3))
    assert torch.allclose(grad, reference.adc_gradient(ps.detach(), bits, 20, DEFAULT_SIGMA[bits]))
    assert adc.gradient_table(3, 5).shape == (31,)
    assert torch.equal(adc.gradient_table(3, 5), adc.gradient_table(3)[45:76])


def test_straight_through_gradient() -> None:
    assert torch.equal(Adc(2, 10, gradient="ste").gradient_table(1), torch.ones(21))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=15, unique=True),
    st.data(),
    st.sampled_from([1, 3, 15]),
)
def test_measured_tables(edges: list[float], data: st.DataObject, unit: int) -> None:
    edges.sort()
    count = len(edges) + 1
    outputs = data.draw(st.lists(st.floats(-64, 64, width=32), min_size=count, max_size=count))
    adc = Adc.from_table(edges, outputs, rows=60)
    ps = torch.arange(-60 * unit, 60 * unit + 1).float() / unit
    codes = _integer_codes(adc, unit, 60)
    expected = (ps[:, None] >= torch.tensor(edges)).sum(1)
    assert torch.equal(codes, expected)
    span = max(outputs) - min(outputs)
    error = (adc.convert(ps) - torch.tensor(outputs)[expected]).abs().max().item()
    assert error <= span / 65535 + 1e-5


def test_equally_spaced_table_is_stored_exactly() -> None:
    adc = Adc.from_table([-43, 0, 43], [-96, -32, 32, 96], rows=128)
    assert adc.levels.tolist() == [0, 1, 2, 3]
    assert (adc.scale, adc.offset) == (64.0, -96.0)


def test_constant_table() -> None:
    assert Adc.from_table([0], [5, 5], rows=8).convert(torch.tensor([-1.0, 1.0])).tolist() == [5, 5]


def test_table_with_the_uniform_converters_numbers_has_its_gradient() -> None:
    uniform = Adc(2, 128, sigma=3.0)
    step = 2 * uniform.scale  # neighbouring levels differ by 2
    table = Adc.from_table([-step, 0, step], [-128, -128 + step, 128 - step, 128], rows=128, sigma=3.0)
    assert torch.allclose(table.gradient_table(1), uniform.gradient_table(1), atol=1e-4)


@pytest.mark.parametrize(
    ("edges", "outputs", "text"),
    [
        ([0], [1], "1 thresholds and 1 levels"),
        ([], [1], "0 thresholds"),
        ([1, 0], [0, 1, 2], "ascending"),
        ([0, 0], [0, 1, 2], "ascending"),
        ([float("nan")], [0, 1], "finite"),
        ([0], [0, float("inf")], "finite"),
    ],
)
def test_bad_tables_are_refused(edges: list[float], outputs: list[float], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        Adc.from_table(edges, outputs)


def test_bad_converters_are_refused() -> None:
    with pytest.raises(UsageError, match="5 bits"):
        Adc(5)
    with pytest.raises(UsageError, match="0 rows"):
        Adc(1, 0)
    with pytest.raises(UsageError, match="not positive"):
        Adc(1, 128, sigma=-1)
    with pytest.raises(UsageError, match="'x' is unknown"):
        Adc(1, 128, gradient="x")  # type: ignore[arg-type]


def test_no_converter() -> None:
    assert make_adc("fp") is None
    assert make_adc(5) is None
    assert parse_adc_bits("4") == 4
    for text in ("1.5", "0", "x", "-1", "nan", "inf"):
        with pytest.raises(UsageError, match="1, 2, 3, 4 or fp was needed"):
            parse_adc_bits(text)


def test_curves_are_registered() -> None:
    assert list(CURVES) == ["sense-amplifier", "table", "uniform"]


@given(
    st.integers(1, 300),
    st.integers(1, 5),
    st.integers(1, 5),
    st.sampled_from(["channel", "tap"]),
    st.sampled_from([25, 64, 128, 1024]),
)
def test_every_input_lies_on_exactly_one_array(channels: int, height: int, width: int, mapping: str, rows: int) -> None:
    layout = Array(rows, mapping).layout(channels, height, width)  # type: ignore[arg-type]
    used = [layout.rows_of(s) for s in range(layout.arrays)]
    assert sum(used) == channels * height * width
    assert min(used) >= 1 and max(used) <= rows
    held = [c for s in range(layout.chunks) for c in layout.channels_of(s)]
    assert held == list(range(channels))
    cut = reference.array_slices(channels, height, width, mapping, rows, None)
    assert len(cut) == layout.arrays
    assert [c.stop - c.start for c, _, _ in cut] == [len(layout.channels_of(s)) for s in range(layout.arrays)]


def test_three_by_three_puts_fourteen_channels_on_an_array() -> None:
    layout = Array(128).layout(80, 3, 3)
    assert (layout.channels_per_array, layout.arrays, layout.rows_of(0), layout.rows_of(5)) == (14, 6, 126, 90)
    assert Array(128, channels_per_array=14).layout(80, 1, 1).arrays == 6


def test_a_linear_layer_fills_its_rows() -> None:
    layout = Array(128, channels_per_array=14).linear_layout(300)
    assert [layout.rows_of(s) for s in range(layout.arrays)] == [128, 128, 44]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="1 channels of a 5x5 kernel need 25 rows; the array has 16"):
        Array(16).layout(4, 5, 5)
    with pytest.raises(UsageError, match="14 channels of a 5x5 kernel need 350 rows"):
        Array(128, channels_per_array=14).layout(80, 5, 5)
    with pytest.raises(UsageError, match="0 rows"):
        Array(0)
    with pytest.raises(UsageError, match="mapping 'rows' is unknown"):
        Array(8, "rows")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no meaning with mapping tap"):
        Array(8, "tap", 3)
    with pytest.raises(UsageError, match="at least 1 was needed"):
        Array(8, channels_per_array=0)
