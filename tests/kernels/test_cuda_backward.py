"""How bnnkit/ops/cuda.py joins the backward pass on a GPU, without one: torch plays the two kernels.

The kernels themselves are tested on an emulated device (csrc/tests/emulated_cuda.h) and, where there is a GPU, in
test_cuda.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bnnkit import ops
from bnnkit.cim import Adc, Array, Layout
from bnnkit.ops import cuda
from bnnkit.quantizers import Quantizer, make

from .problems import values

STRIDE, PADDING, DILATION = (2, 1), (1, 2), (1, 2)


class Kernels:
    """What `adc_gradient_factors` and `adc_fold_gradients` do, by torch's unfold and fold on the integers."""

    def __init__(self, x: Tensor, w: Tensor, layout: Layout, groups: int) -> None:
        self.x, self.w, self.layout, self.groups = x, w, layout, groups
        self.lines = 128 * -(-layout.channels_per_array * (1 if layout.tap else self.taps) // 128)
        self.calls: list[tuple[int, int, bool]] = []

    @property
    def taps(self) -> int:
        return self.layout.kernel_h * self.layout.kernel_w

    def rows_of(self, array: int) -> list[tuple[int, int, int]]:
        """Return (channel, tap, word line) of every row of an array."""
        channels = self.layout.channels_of(array)
        taps = [array // self.layout.chunks] if self.layout.tap else range(self.taps)
        per_tap = 0 if self.layout.tap else self.layout.channels_per_array
        return [(c, t, t * per_tap + c - channels.start) for t in taps for c in channels]

    def on_lines(self, values_of_rows: Tensor, array: int) -> Tensor:
        """Move [..., channels, taps] to the word lines of an array."""
        lines = values_of_rows.new_zeros(*values_of_rows.shape[:-2], self.lines)
        for channel, tap, line in self.rows_of(array):
            lines[..., line] = values_of_rows[..., channel, tap]
        return lines

    def factors(
        self, gy: Tensor, x_bits: Tensor, w_bits: Tensor, slopes: Tensor | None, x_thermometer: bool,
        w_thermometer: bool, channels: int, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int],
        dilation: Sequence[int], groups: int, channels_per_array: int, tap: bool, first: int, arrays: int,
        bfloat16: bool,
    ) -> list[Tensor]:  # fmt: skip
        assert (tuple(stride), tuple(padding), tuple(dilation)) == (STRIDE, PADDING, DILATION)
        assert (groups, channels_per_array, tap) == (self.groups, self.layout.channels_per_array, self.layout.tap)
        self.calls.append((first, arrays, bfloat16))
        columns = F.unfold(self.x, tuple(kernel), DILATION, PADDING, STRIDE)
        columns = columns.view(len(self.x), groups, -1, self.taps, columns.shape[-1]).permute(1, 0, 4, 2, 3)
        weights = self.w.view(groups, -1, self.layout.channels, self.taps)
        to_outputs = gy.view(len(gy), groups, -1, gy.shape[2] * gy.shape[3]).permute(1, 0, 3, 2).flatten(1, 2)
        g, x, w = [], [], []
        for group in range(groups):
            for array in range(first, first + arrays):
                x.append(self.on_lines(columns[group].flatten(0, 1), array))
                w.append(self.on_lines(weights[group], array))
                sums = (x[-1] @ w[-1].T).long()
                slope = 1.0 if slopes is None else slopes[sums + (len(slopes) - 1) // 2]
                g.append(to_outputs[group] * slope)
        dtype = torch.bfloat16 if bfloat16 else torch.float32
        return [torch.stack(parts).to(dtype) for parts in (g, x, w)]

    def fold(
        self, patches: Tensor, rows: Tensor, gx: Tensor, gw: Tensor, x_unit: float, w_unit: float,
        kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int], groups: int,
        channels_per_array: int, tap: bool, first: int,
    ) -> None:  # fmt: skip
        assert patches.is_contiguous() and rows.is_contiguous() and patches.dtype == rows.dtype == torch.float32
        arrays = len(patches) // groups
        per_group = self.layout.channels
        columns = torch.zeros(groups, per_group, self.taps, patches.shape[1])
        for group in range(groups):
            for i in range(arrays):
                for channel, t, line in self.rows_of(first + i):
                    columns[group, channel, t] = patches[group * arrays + i, :, line]
                    outputs = slice(group * gw.shape[0] // groups, (group + 1) * gw.shape[0] // groups)
                    gw[outputs, channel, t // kernel[1], t % kernel[1]] = x_unit * rows[group * arrays + i, :, line]
        images = columns.view(groups * per_group * self.taps, len(gx), -1).transpose(0, 1)
        gx += w_unit * F.fold(images, tuple(gx.shape[2:]), tuple(kernel), DILATION, PADDING, STRIDE)


@pytest.fixture
def arguments(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, ...]:
    mapping, groups, a_bit, w_bit = request.param
    generator = torch.Generator().manual_seed(1)
    x, w = values((2, 5 * groups, 6, 7), generator), values((3 * groups, 5, 3, 2), generator)
    a, w_quantizer = make(a_bit), make(w_bit)
    layout = Array(12 if mapping == "channel" else 2, mapping).layout(5, 3, 2)
    x_bits = ops.pack_pixels(x, a, channels_per_array=layout.channels_per_array, groups=groups)
    w_bits = ops.pack_kernels(w, w_quantizer, layout=layout)
    kernels = Kernels(_integers(x, a), _integers(w, w_quantizer), layout, groups)
    monkeypatch.setattr(torch.ops.bnnkit, "adc_gradient_factors", kernels.factors)
    monkeypatch.setattr(torch.ops.bnnkit, "adc_fold_gradients", kernels.fold)
    slopes = Adc(2, layout.rows, sigma=2.0).gradient_table(a.unit * w_quantizer.unit)
    rest = (1 / a.unit, 1 / w_quantizer.unit, a.thermometer, w_quantizer.thermometer, 5 * groups, [3, 2])
    gy = torch.randn(2, 3 * groups, 3, 9, generator=generator)
    cut = (list(STRIDE), list(PADDING), list(DILATION), groups, layout.channels_per_array, layout.tap)
    return kernels, (gy, x_bits, w_bits, slopes, *rest, *cut)


def _integers(x: Tensor, quantizer: Quantizer) -> Tensor:
    return (quantizer(x) * quantizer.unit).round()


CASES = [("channel", 1, 1, 1), ("channel", 2, 2, 1), ("tap", 1, 1, 3), ("tap", 3, 1.5, 1)]


@pytest.mark.parametrize("arguments", CASES, indirect=True)
@pytest.mark.parametrize("budget", [1, 1 << 30])
def test_gradients_are_those_of_the_processor(
    arguments: tuple[Any, ...], budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernels, call = arguments
    monkeypatch.setattr(cuda, "_BUDGET", budget)
    expected = torch.ops.bnnkit.adc_conv2d_backward(*call)
    got = cuda.adc_conv2d_backward(*call)
    for g, e in zip(got, expected, strict=True):
        assert torch.allclose(g, e, rtol=1e-5, atol=1e-5 * float(e.abs().max()))
    whole = kernels.layout.arrays
    assert kernels.calls == ([(0, whole, False)] if budget > 1 else [(s, 1, False) for s in range(whole)])


@pytest.mark.parametrize("arguments", CASES[:1], indirect=True)
def test_without_slopes(arguments: tuple[Any, ...]) -> None:
    _, (gy, x_bits, w_bits, _, *rest) = arguments
    expected = torch.ops.bnnkit.adc_conv2d_backward(gy, x_bits, w_bits, None, *rest)
    got = cuda.adc_conv2d_backward(gy, x_bits, w_bits, None, *rest)
    assert all(torch.allclose(g, e, rtol=1e-5, atol=1e-5) for g, e in zip(got, expected, strict=True))


@pytest.mark.parametrize("arguments", CASES[:2], indirect=True)
def test_products_in_bfloat16_where_torch_is_allowed_to(arguments: tuple[Any, ...]) -> None:
    kernels, call = arguments
    expected = torch.ops.bnnkit.adc_conv2d_backward(*call)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        got = cuda.adc_conv2d_backward(*call)
    finally:
        torch.set_float32_matmul_precision(before)
    assert all(bfloat16 for _, _, bfloat16 in kernels.calls)
    for g, e in zip(got, expected, strict=True):
        error = float((g - e).norm() / e.norm())
        assert 1e-5 < error < 2**-7


@pytest.mark.parametrize("arguments", CASES[:1], indirect=True)
def test_an_empty_batch(arguments: tuple[Any, ...]) -> None:
    kernels, (gy, x_bits, w_bits, *rest) = arguments
    gx, gw = cuda.adc_conv2d_backward(gy[:0], x_bits[:, :0], w_bits, *rest)
    assert gx.shape == (0, 5, 6, 7) and not gw.any() and not kernels.calls
