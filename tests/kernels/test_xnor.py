"""xnor: the packed product equals integer arithmetic on every variant, thread count, batch and format."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bnnkit import ops, reference
from bnnkit.quantizers import make

from .problems import every_variant, values

SIGN = {"a": make(1), "w_quantizer": make(1)}


def _plain(x: Tensor, w: Tensor, bias: Tensor | None, **geometry: Any) -> Tensor:
    y = F.conv2d(reference.quantize(x, 1).double(), reference.quantize(w, 1).double(), None, **geometry)
    return (y if bias is None else y + bias.double().view(-1, 1, 1)).float()


@settings(max_examples=60, deadline=None)
@given(
    m=st.sampled_from([1, 2, 3, 4, 5, 63, 64, 65, 127, 128, 129, 200]),
    n=st.sampled_from([1, 7, 8, 15, 16, 17, 31, 32, 33, 65]),
    k=st.one_of(st.integers(1, 200), st.sampled_from([511, 512, 513, 768, 769, 1500])),
    seed=st.integers(0, 2**32),
)
def test_products_equal_integer_arithmetic(m: int, n: int, k: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x, w = values((m, k), generator), values((n, k), generator)
    expected = reference.xnor_gemm(x, w).float()
    for name in every_variant():
        assert torch.equal(ops.xnor_linear(x, w, **SIGN), expected), name


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor | None, dict[str, Any]]:
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    channels = draw(st.one_of(st.integers(1, 40), st.sampled_from([63, 64, 65, 128, 129])))
    outputs = groups * draw(st.sampled_from([1, 3, 8, 17, 33]))
    kernel = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    padding = draw(st.tuples(st.integers(0, 3), st.integers(0, 3)))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    size = [max(1, dilation[i] * (kernel[i] - 1) + 1 - 2 * padding[i]) + draw(st.integers(0, 6)) for i in range(2)]
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    x = values((draw(st.integers(1, 3)), channels * groups, *size), generator)
    w = values((outputs, channels, *kernel), generator)
    bias = values((outputs,), generator) if draw(st.booleans()) else None
    return x, w, bias, {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}


@settings(max_examples=60, deadline=None)
@given(convolution=convolutions())
def test_convolutions_equal_integer_arithmetic(convolution: tuple[Any, ...]) -> None:
    x, w, bias, geometry = convolution
    expected = _plain(x, w, bias, **geometry)
    for name in every_variant():
        for format in (torch.contiguous_format, torch.channels_last):
            got = ops.xnor_conv2d(x.contiguous(memory_format=format), w, bias, **SIGN, **geometry)
            assert torch.equal(got, expected), (name, format)
    for i in range(len(x)):
        assert torch.equal(ops.xnor_conv2d(x[i : i + 1], w, bias, **SIGN, **geometry), expected[i : i + 1])


@settings(max_examples=10, deadline=None)
@given(convolution=convolutions())
def test_two_threads_change_nothing(convolution: tuple[Any, ...]) -> None:
    x, w, bias, geometry = convolution
    expected = _plain(x, w, bias, **geometry)
    for name in every_variant(threads=2):
        assert torch.equal(ops.xnor_conv2d(x, w, bias, **SIGN, **geometry), expected), name


@settings(max_examples=40, deadline=None)
@given(convolution=convolutions(), gradient=st.sampled_from(["ste", "iga"]))
def test_gradients_equal_autograd(convolution: tuple[Any, ...], gradient: Any) -> None:
    x, w, bias, geometry = convolution
    quantizer = make(1, gradient)

    def gradients(packed: bool) -> list[Tensor]:
        leaves = [t.clone().requires_grad_() for t in (x, w, bias) if t is not None]
        if packed:
            y = ops.xnor_conv2d(*leaves, a=quantizer, w_quantizer=quantizer, **geometry)
        else:
            signs = [reference.integers(t, 1, gradient=gradient) for t in leaves[:2]]
            y = F.conv2d(*signs, *[b.double() for b in leaves[2:]], **geometry)
        direction = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
        return list(torch.autograd.grad(y, leaves, direction.to(y.dtype)))

    expected = gradients(False)
    for name in every_variant():
        for g, e in zip(gradients(True), expected, strict=True):
            assert torch.allclose(g, e, rtol=1e-4, atol=1e-4 * float(e.abs().max()) + 1e-7), name


def test_empty_batch() -> None:
    for name in every_variant():
        assert ops.xnor_linear(torch.ones(0, 100), torch.ones(3, 100), **SIGN).shape == (0, 3), name
        assert ops.xnor_conv2d(torch.ones(0, 4, 5, 5), torch.ones(3, 4, 3, 3), **SIGN).shape == (0, 3, 3, 3), name


@pytest.mark.parametrize(
    ("x", "w", "options", "message"),
    [
        (torch.ones(1, 3), torch.ones(2, 4), {}, "channels"),
        (torch.ones(1, 5), torch.ones(2, 4), {}, "channels"),
        (torch.ones(1, 4).double(), torch.ones(2, 4), {}, "x: .*float32"),
        (torch.ones(1, 4), torch.ones(2, 4).double(), {}, "w: .*float32"),
        (torch.full((1, 4), math.nan), torch.ones(2, 4), {}, "x: contains NaN"),
        (torch.ones(1, 4), torch.full((2, 4), math.nan), {}, "w: contains NaN"),
        (torch.ones(1, 4), torch.ones(2, 4), {"bias": torch.ones(3)}, "bias: .*output channel"),
        (torch.ones(1, 4), torch.ones(2, 4), {"a": make(2)}, "one plane"),
        (torch.ones(1, 4), torch.ones(2, 4), {"w_quantizer": make(1.5)}, "one plane"),
    ],
)
def test_bad_arguments_are_refused(x: Tensor, w: Tensor, options: dict[str, Any], message: str) -> None:
    with pytest.raises((RuntimeError, ValueError), match=message):
        ops.xnor_linear(x, w, **{**SIGN, **options})


def test_sums_that_float32_cannot_hold_are_refused() -> None:
    bits = torch.zeros(1, 1, 1, 1, 2**21, dtype=torch.uint8)
    ops.load()
    with pytest.raises(RuntimeError, match=r"2\^24"):
        torch.ops.bnnkit.xnor_conv2d(bits, bits[0, 0], None, None, None, 2**24, [1, 1], [1, 1], [0, 0], [1, 1], 1)
