"""The ops on a GPU against the same ops on the processor: integers equal, gradients to the precision of their products.

Without a GPU these tests are skipped; what can be shown without one is shown by csrc/tests on an emulated device and by
test_cuda_backward.py.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bnnkit import ops
from bnnkit.bench import packed
from bnnkit.cim import Adc, Array
from bnnkit.errors import MissingError
from bnnkit.faults import KINDS, ImageFault, read
from bnnkit.quantizers import make

from .problems import Problem, problems, values

WHY_NOT = "torch sees no GPU" if not torch.cuda.is_available() else None
if WHY_NOT is None and ops.cuda_library() is None:
    WHY_NOT = "bnnkit was built without its CUDA kernels"
needs_gpu = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))


def _on_gpu(problem: Problem) -> Problem:
    bias = None if problem.bias is None else problem.bias.cuda()
    return replace(problem, x=problem.x.cuda(), w=problem.w.cuda(), bias=bias)


@needs_gpu
@settings(max_examples=150, deadline=None)
@given(problem=problems(work=200_000))
def test_adc_equals_the_processor(problem: Problem) -> None:
    expected = problem.packed()
    got = _on_gpu(problem).packed()
    assert ops.last_variant("adc") == ops.last_variant("pack") == "cuda"
    assert torch.equal(got.cpu(), expected)


@needs_gpu
@settings(max_examples=80, deadline=None)
@given(problem=problems(work=50_000))
@pytest.mark.parametrize("precision", ["highest", "high"])
def test_gradients(problem: Problem, precision: str) -> None:
    direction = torch.randn(problem.packed().shape, generator=torch.Generator().manual_seed(1))
    expected = problem.gradients(Problem.packed, direction)
    torch.set_float32_matmul_precision(precision)
    try:
        got = _on_gpu(problem).gradients(Problem.packed, direction.cuda())
    finally:
        torch.set_float32_matmul_precision("highest")
    assert ops.last_variant("adc_backward") == "cuda"
    allowed = 1e-4 if precision == "highest" else 2**-7
    for g, e in zip(got, expected, strict=True):
        assert torch.allclose(g.cpu(), e, rtol=allowed, atol=allowed * float(e.abs().max()) + 1e-7)


@needs_gpu
@settings(max_examples=80, deadline=None)
@given(
    m=st.integers(1, 300), n=st.integers(1, 200), k=st.integers(1, 700), seed=st.integers(0, 1 << 30),
    image=st.booleans(),
)  # fmt: skip
def test_xnor_equals_the_processor(m: int, n: int, k: int, seed: int, image: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    sign = {"a": make(1), "w_quantizer": make(1)}
    if image:
        channels, padding = k % 70 + 1, (seed % 3, seed % 2)
        x, w = values((m % 3 + 1, channels, 9, 8), generator), values((n, channels, 3, 3), generator)
        expected = ops.xnor_conv2d(x, w, padding=padding, **sign)
        got = ops.xnor_conv2d(x.cuda(), w.cuda(), padding=padding, **sign)
    else:
        x, w = values((m, k), generator), values((n, k), generator)
        expected, got = ops.xnor_linear(x, w, **sign), ops.xnor_linear(x.cuda(), w.cuda(), **sign)
    assert ops.last_variant("xnor") == "cuda"
    assert torch.equal(got.cpu(), expected)


@needs_gpu
@pytest.mark.parametrize("shape", [(1, 5, 70), (65, 90, 700), (300, 160, 1440), (1000, 333, 4096)])
def test_xnor_integers_and_bits_equal_the_processor(shape: tuple[int, int, int]) -> None:
    m, n, k = shape
    generator = torch.Generator().manual_seed(1)
    x, w = values((m, k), generator), values((n, k), generator)
    thresholds = torch.randint(-30, 30, (n,), dtype=torch.int32, generator=generator)
    flip = -torch.randint(0, 2, (n,), dtype=torch.int32, generator=generator)

    def products(device: str) -> list[Tensor]:
        layout = packed.whole(k)
        bits = packed.pack_activations(x.to(device), layout), packed.pack_weights(w.to(device), layout)
        fold = thresholds.to(device), flip.to(device)
        found = [packed.xnor_integers(bits, k, width) for width in (16, 32)] + [packed.xnor_bits(bits, k, fold)]
        return [y.cpu() for y in found]

    for got, expected in zip(products("cuda"), products("cpu"), strict=True):
        assert torch.equal(got, expected)


@needs_gpu
def test_dense_sums_equal_the_processor() -> None:
    generator = torch.Generator().manual_seed(1)
    x, w = torch.randn(7, 30, 17, 9, generator=generator), torch.randn(70, 30, 3, 2, generator=generator)
    bias, window = torch.randn(70, generator=generator), ([2, 1], [1, 1])
    expected = torch.ops.bnnkit.dense_conv2d(x, w, bias, *window)
    got = torch.ops.bnnkit.dense_conv2d(x.cuda(), w.cuda(), bias.cuda(), *window)
    assert ops.last_variant("dense") == "cuda"
    assert torch.equal(got.cpu(), expected)


@needs_gpu
@pytest.mark.parametrize("shape", [(4096, 1024, 4096), (131072, 160, 1440)])
@pytest.mark.parametrize("adc_bit", [None, 1, 3, 4])
def test_large_products(shape: tuple[int, int, int], adc_bit: int | None) -> None:
    m, n, k = shape
    generator = torch.Generator().manual_seed(1)
    x, w = values((m, k), generator), values((n, k), generator)
    sign = {"a": make(1), "w_quantizer": make(1)}

    def product(x: Tensor, w: Tensor) -> Tensor:
        if adc_bit is None:
            return ops.xnor_linear(x, w, **sign)
        return ops.adc_linear(x, w, adc=Adc(adc_bit), layout=Array(128).linear_layout(k), **sign)

    assert torch.equal(product(x.cuda(), w.cuda()).cpu(), product(x, w))


@needs_gpu
@pytest.mark.parametrize("cell_bit", [1, 2, 3, 8])
def test_slices(cell_bit: int) -> None:
    w = torch.randint(0, 1 << 8, (37, 41), generator=torch.Generator().manual_seed(1))
    slices = ops.slice_weights(w.cuda(), 8, cell_bit)
    assert ops.last_variant("bitplane") == "cuda"
    assert torch.equal(slices.cpu(), ops.slice_weights(w, 8, cell_bit))
    assert torch.equal(ops.merge_slices(slices, cell_bit).cpu(), w.int())
    with pytest.raises(RuntimeError, match="outside"):
        ops.slice_weights(w.cuda(), 7, cell_bit)


@needs_gpu
@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_image_faults(kind: str, rate: float) -> None:
    images = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    key = (7, 1, torch.arange(5))
    expected = read(images, ImageFault(6, kind, rate), key)
    got = read(images.cuda(), ImageFault(6, kind, rate), key)
    assert ops.last_variant("image_faults") == "cuda"
    assert torch.equal(got.images.cpu(), expected.images)
    assert (got.faulty, got.wrong) == (expected.faulty, expected.wrong)


@needs_gpu
def test_a_nan_is_reported_by_the_next_call() -> None:
    x = torch.ones(2, 5, device="cuda")
    x[1, 3] = float("nan")
    ops.pack_pixels(x, make(1), channels_per_array=5)
    torch.cuda.synchronize()
    with pytest.raises(RuntimeError, match="NaN"):
        ops.pack_pixels(torch.ones_like(x), make(1), channels_per_array=5)
    ops.pack_pixels(torch.ones_like(x), make(1), channels_per_array=5)


@needs_gpu
def test_operands_on_two_devices() -> None:
    x, w = torch.ones(2, 5), torch.ones(3, 5)
    with pytest.raises(RuntimeError, match="lies on another device"):
        ops.xnor_linear(x.cuda(), w, a=make(1), w_quantizer=make(1))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu() -> None:
    with pytest.raises(MissingError, match="torch sees no GPU here"):
        ops.check_device("cuda")


def test_a_build_without_cuda_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(Path, "is_file", lambda path: False)
    with pytest.raises(MissingError, match="built without its CUDA kernels"):
        ops.check_device("cuda")


def test_the_gpus_variant_cannot_be_forced() -> None:
    assert "cuda" not in ops.variants()
    with pytest.raises(Exception, match="'cuda' runs for tensors on a GPU"), ops.variant("cuda"):
        pass
