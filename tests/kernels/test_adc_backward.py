"""Gradients of the packed convolution against autograd through the specification, and the memory they take."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings

from bnnkit import ops
from bnnkit.cim import Adc, Array
from bnnkit.quantizers import make

from .problems import Problem, every_variant, problems, values


def _direction(problem: Problem) -> torch.Tensor:
    return torch.randn(problem.packed().shape, generator=torch.Generator().manual_seed(1))


def _assert_gradients(problem: Problem) -> None:
    direction = _direction(problem)
    expected = problem.gradients(Problem.reference, direction)
    for name in every_variant():
        got = problem.gradients(Problem.packed, direction)
        for which, g, e in zip(("x", "w", "bias"), got, expected, strict=False):
            tolerance = 1e-4 * float(e.abs().max()) + 1e-7  # tiles keep 16 bits of every term
            assert torch.allclose(g, e, rtol=1e-4, atol=tolerance), f"{name}: gradient of {which}"


@settings(max_examples=120, deadline=None)
@given(problem=problems(work=50_000))
def test_straight_through_values(problem: Problem) -> None:
    _assert_gradients(problem)


@settings(max_examples=60, deadline=None)
@given(problem=problems(gradient="iga", work=50_000))
def test_impulses_on_the_values(problem: Problem) -> None:
    _assert_gradients(problem)


@settings(max_examples=10, deadline=None)
@given(problem=problems(work=50_000))
def test_two_threads_change_nothing(problem: Problem) -> None:
    direction = _direction(problem)
    for name in ops.usable_variants():
        with ops.variant(name):
            torch.set_num_threads(1)
            one = problem.gradients(Problem.packed, direction)
            torch.set_num_threads(2)
            two = problem.gradients(Problem.packed, direction)
        assert all(torch.equal(a, b) for a, b in zip(one[:2], two[:2], strict=True)), name


@pytest.mark.parametrize("rows", [1, 64, 126, 128, 512, 1024])
def test_linear_of_any_number_of_rows(rows: int) -> None:
    generator = torch.Generator().manual_seed(rows)
    features = 2 * rows + rows // 3 + 1
    x, w = values((4, features, 1, 1), generator), values((6, features, 1, 1), generator)
    for bits in (1, 3):
        _assert_gradients(Problem(x, w, None, make(1), make(2), Adc(bits, rows), bits, Array(rows)))


def test_a_layer_of_res20() -> None:
    generator = torch.Generator().manual_seed(1)
    x, w = values((2, 80, 9, 9), generator), values((40, 80, 3, 3), generator)
    _assert_gradients(Problem(x, w, None, make(1), make(1), Adc(1), 1, Array(128), padding=(1, 1)))


def test_only_what_is_asked_for() -> None:
    generator = torch.Generator().manual_seed(1)
    problem = Problem(
        values((2, 6, 1, 1), generator), values((3, 6, 1, 1), generator), None, make(1), make(1), Adc(1), 1, Array(4)
    )
    both = problem.gradients(Problem.packed, _direction(problem))
    for name, expected in zip(("x", "w"), both, strict=True):
        leaf = getattr(problem, name).clone().requires_grad_()
        y = replace(problem, **{name: leaf}).packed()
        (gradient,) = torch.autograd.grad(y, leaf, _direction(problem))
        assert torch.equal(gradient, expected)
    assert not problem.packed().requires_grad


def test_gradient_of_an_empty_batch() -> None:
    x = torch.ones(0, 200, requires_grad=True)
    w = torch.ones(3, 200, requires_grad=True)
    layout = Array(128).layout(200, 1, 1)
    y = ops.adc_linear(x, w, a=make(1), w_quantizer=make(1), adc=Adc(1), layout=layout)
    y.sum().backward()
    assert x.grad is not None and x.grad.shape == (0, 200)
    assert w.grad is not None and torch.equal(w.grad, torch.zeros(3, 200))


def test_gradient_without_outputs() -> None:
    x, w = torch.ones(2, 3, 4, 4, requires_grad=True), torch.ones(0, 3, 3, 3, requires_grad=True)
    ops.xnor_conv2d(x, w, a=make(1), w_quantizer=make(1)).sum().backward()
    assert x.grad is not None and w.grad is not None
    assert not x.grad.any() and w.grad.shape == w.shape


def test_gradients_of_expanded_and_strided_outputs() -> None:
    generator = torch.Generator().manual_seed(2)
    problem = Problem(
        values((3, 10, 4, 4), generator), values((5, 10, 3, 3), generator), None, make(2), make(1), Adc(2), 2, Array(36)
    )
    shape = problem.packed().shape
    dense = torch.ones(shape)
    for direction in (torch.ones(1).expand(shape), dense.to(memory_format=torch.channels_last), dense.mT):
        for got, expected in zip(
            problem.gradients(Problem.packed, direction), problem.gradients(Problem.packed, dense), strict=True
        ):
            assert torch.equal(got, expected)


def test_autograd_keeps_bits_only() -> None:
    generator = torch.Generator().manual_seed(3)
    x, w = values((4, 64, 16, 16), generator).requires_grad_(), values((64, 64, 3, 3), generator).requires_grad_()
    problem = Problem(x, w, None, make(1), make(1), Adc(1), 1, Array(128), padding=(1, 1))
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        problem.packed()
    floats = 4 * (x.numel() + w.numel())
    assert 0 < sum(kept.values()) < floats / 5


_PEAK = """
import sys, torch
torch.set_num_threads(1)
from bnnkit import ops
from bnnkit.cim import Adc, Array
from bnnkit.nn.loop import array_loop
from bnnkit.quantizers import make

def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))

def step(convolve, n, c, size, rows):
    x = torch.rand(n, c, size, size).sub_(0.5).requires_grad_()
    w = torch.rand(c, c, 3, 3).sub_(0.5).requires_grad_()
    geometry = dict(stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=1)
    q, layout = make(1), Array(rows).layout(c, 3, 3)
    convolve(x, w, None, a=q, w_quantizer=q, adc=Adc(1, rows), layout=layout, **geometry).sum().backward()

convolve = {"packed": ops.adc_conv2d, "loop": array_loop}[sys.argv[1]]
step(convolve, 1, 8, 4, 128)
before = peak()
step(convolve, 4, 192, 16, int(sys.argv[2]))
print(peak() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is read from /proc")
def test_peak_memory_does_not_grow_with_the_number_of_arrays() -> None:
    def peak(which: str, rows: int) -> int:
        words = [sys.executable, "-c", _PEAK, which, str(rows)]
        result = subprocess.run(words, capture_output=True, text=True, check=True)
        return int(result.stdout) * 1024

    outputs = 4 * 192 * 16 * 16 * 4  # bytes of one array's partial sums: 2 arrays at 1024 rows, 28 at 64
    few, many = peak("packed", 1024), peak("packed", 64)
    assert many - few < 3 * outputs
    assert peak("loop", 64) - few > 20 * outputs  # the measurement sees what the kernels avoid
