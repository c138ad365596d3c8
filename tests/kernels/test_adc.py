"""adc: the packed convolution equals the specification exactly, on every variant, thread count, batch and format."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bnnkit import ops, reference
from bnnkit.cim import Adc, Array
from bnnkit.quantizers import make

from .problems import WIDTHS, Problem, every_variant, problems, values


def _assert_exact(problem: Problem) -> Tensor:
    expected = problem.reference()
    assert torch.equal(problem.loop(), expected), "array_loop"
    for name in every_variant():
        assert torch.equal(problem.packed(), expected), name
    return expected


@settings(max_examples=200, deadline=None)
@given(problem=problems())
def test_equals_the_reference_exactly(problem: Problem) -> None:
    _assert_exact(problem)


@settings(max_examples=12, deadline=None)
@given(problem=problems())
def test_two_threads_change_nothing(problem: Problem) -> None:
    expected = problem.reference()
    for name in every_variant(threads=2):
        assert torch.equal(problem.packed(), expected), name


@settings(max_examples=50, deadline=None)
@given(problem=problems())
def test_rows_do_not_depend_on_the_batch(problem: Problem) -> None:
    together = problem.packed()
    for i in range(len(problem.x)):
        assert torch.equal(replace(problem, x=problem.x[i : i + 1]).packed(), together[i : i + 1])


@settings(max_examples=50, deadline=None)
@given(problem=problems())
def test_memory_format_does_not_matter(problem: Problem) -> None:
    expected = problem.packed()
    for name in every_variant():
        for x in (problem.x.to(memory_format=torch.channels_last), problem.x.mT.contiguous().mT):
            assert torch.equal(replace(problem, x=x).packed(), expected), name
        w = problem.w.to(memory_format=torch.channels_last)
        assert torch.equal(replace(problem, w=w).packed(), expected), name


@pytest.mark.parametrize("rows", [1, 2, 63, 64, 65, 126, 127, 128, 129, 255, 256, 512, 1000, 1024])
def test_linear_of_any_number_of_rows(rows: int) -> None:
    generator = torch.Generator().manual_seed(rows)
    features = 2 * rows + rows // 3 + 1
    x, w, bias = (values(shape, generator) for shape in ((5, features), (9, features), (9,)))
    layout = Array(rows).layout(features, 1, 1)
    for bits in (1, 2, 3, 4):
        for width in WIDTHS:
            q, adc = make(width), Adc(bits, rows)
            expected = reference.adc_gemm(
                reference.integers(x, q.bits),  # type: ignore[arg-type]
                reference.integers(w, q.bits),  # type: ignore[arg-type]
                bias,
                rows,
                lambda ps, bits=bits: reference.adc(ps, bits, rows),  # type: ignore[misc]
                q.unit**2,
                grid=(adc.scale, adc.offset),
            )
            for name in ops.usable_variants():
                with ops.variant(name):
                    got = ops.adc_linear(x, w, bias, a=q, w_quantizer=q, adc=adc, layout=layout)
                assert torch.equal(got, expected), (name, bits, width)


@pytest.mark.parametrize("mapping", ["channel", "tap"])
def test_a_layer_of_res20(mapping: Any) -> None:
    # Several blocks of pixels and of output channels, borders, and a remainder array.
    generator = torch.Generator().manual_seed(1)
    x, w = values((2, 80, 13, 13), generator), values((80, 80, 3, 3), generator)
    for bits in (1, 3):
        problem = Problem(x, w, None, make(1), make(1), Adc(bits), bits, Array(128, mapping), padding=(1, 1))
        _assert_exact(problem)


def test_saturated_sums_of_full_arrays() -> None:
    # All rows agree or all differ: the ends of every lookup table, and one past them.
    for rows in (126, 127, 128, 129, 256):
        x = torch.ones(2, 2 * rows)
        x[1] = -1
        layout = Array(rows).layout(2 * rows, 1, 1)
        for bits in (1, 2, 3, 4):
            for name in ops.usable_variants():
                with ops.variant(name):
                    y = ops.adc_linear(x, x, a=make(1), w_quantizer=make(1), adc=Adc(bits, rows), layout=layout)
                assert y.tolist() == [[2 * rows, -2 * rows], [-2 * rows, 2 * rows]], (name, rows, bits)


def test_a_sum_of_zero_reads_low_on_a_sense_amplifier() -> None:
    x = torch.tensor([[1.0, -1.0]])
    layout = Array(2).layout(2, 1, 1)
    for name in ops.usable_variants():
        with ops.variant(name):
            y = ops.adc_linear(x, torch.ones(1, 2), a=make(1), w_quantizer=make(1), adc=Adc(1, 2), layout=layout)
        assert y.item() == -2, name


def test_padding_is_neither_one_nor_minus_one() -> None:
    # One valid tap of nine: the partial sum of the corner is 1, far from the thresholds that nine taps would pass.
    x, w = torch.ones(1, 1, 1, 1), torch.ones(1, 1, 3, 3)
    adc = Adc.from_table([0.5, 1.5, 8.5], [0, 1, 7, 9], 9)
    layout = Array(9).layout(1, 3, 3)
    for name in ops.usable_variants():
        with ops.variant(name):
            y = ops.adc_conv2d(x, w, a=make(1), w_quantizer=make(1), adc=adc, layout=layout, padding=(1, 1))
        assert y.item() == 1, name


@settings(max_examples=20, deadline=None)
@given(level=st.integers(-5, 5))
def test_a_converter_of_equal_levels(level: int) -> None:
    x, w = torch.ones(2, 10), torch.ones(3, 10)
    adc, layout = Adc.from_table([0.0], [level, level], 4), Array(4).layout(10, 1, 1)
    y = ops.adc_linear(x, w, a=make(1), w_quantizer=make(1), adc=adc, layout=layout)
    assert torch.equal(y, torch.full((2, 3), 3.0 * level))
    array = Array(4)
    problem = Problem(x[:, :, None, None], w[:, :, None, None], None, make(1), make(1), adc, None, array)
    assert torch.equal(problem.reference().flatten(1), y)


def test_empty_batch() -> None:
    layout = Array(128).layout(200, 1, 1)
    for name in every_variant():
        y = ops.adc_linear(
            torch.ones(0, 200), torch.ones(3, 200), a=make(1), w_quantizer=make(2), adc=Adc(2), layout=layout
        )
        assert y.shape == (0, 3), name


def _call(x: Tensor, w: Tensor, bias: Tensor | None = None, **options: Any) -> Tensor:
    layout = options.pop("layout", None) or Array(128).layout(*w.shape[1:])
    return ops.adc_conv2d(x, w, bias, a=make(1), w_quantizer=make(1), adc=Adc(1), layout=layout, **options)


X, W = torch.ones(2, 4, 5, 5), torch.ones(3, 4, 3, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x": X.double()}, "x: .*float32"),
        ({"w": W.double()}, "w: .*float32"),
        ({"x": X.clone().fill_(math.nan)}, "x: contains NaN"),
        ({"w": W.clone().fill_(math.nan)}, "w: contains NaN"),
        ({"x": torch.ones(2, 3, 5, 5)}, "channels"),
        ({"x": torch.ones(2, 5, 5, 5)}, "channels"),
        ({"x": torch.ones(2, 8, 5, 5)}, "channels"),
        ({"x": torch.ones(2, 4, 2, 5)}, "smaller than the kernel"),
        ({"bias": torch.ones(2)}, "bias: .*output channel"),
        ({"bias": torch.ones(3).double()}, "bias: .*float32"),
        ({"stride": (0, 1)}, "stride"),
        ({"padding": (-1, 0)}, "padding"),
        ({"dilation": (1, 0)}, "dilation"),
        ({"x": torch.ones(2, 8, 5, 5), "groups": 2}, "groups: must divide"),
        ({"x": torch.ones(2, 9, 5, 5), "groups": 2}, "groups: must divide"),
        ({"layout": Array(128).layout(5, 3, 3)}, "layout"),
        ({"layout": Array(128).layout(4, 1, 1)}, "layout"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    options = {"x": X, "w": W, **arguments}
    with pytest.raises((RuntimeError, ValueError), match=message):
        _call(options.pop("x"), options.pop("w"), options.pop("bias", None), **options)


def test_a_longer_x_than_w_in_a_linear_layer_is_refused() -> None:
    layout = Array(128).layout(4, 1, 1)
    for features in (3, 5, 64):
        with pytest.raises((RuntimeError, ValueError), match="channels"):
            ops.adc_linear(
                torch.ones(1, features), torch.ones(2, 4), a=make(1), w_quantizer=make(1), adc=Adc(1), layout=layout
            )
