"""bit_serial: convolution of unsigned codes with sliced weights, one conversion per array, input bit and slice."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from bnnkit.cim import Layout
from bnnkit.cim.slicing import Slicing
from bnnkit.ops.extension import load

Pair = tuple[int, int]

WORD_BITS = 64
MOST = 32767
"""Partial sums are held in 16 bits."""

NORMAL_QUANTILES = 4096
FINEST = 10
"""Binary digits after the point of a cell step, where the sums leave room for them."""


@dataclass(frozen=True)
class Cells:
    """Weights as the kernel reads them.

    Attributes:
        data: uint8 [planes, O, bytes] for ideal cells, int16 [slices, O, rows] for others; rows as in `positions`.
        slice_planes, plane_weights, dummies: planes of each slice, what each counts, what every active row adds; ideal
            cells only.
        low, high: bounds of the partial sums, in units of 2^-fraction cell steps.
        fraction: binary digits of a cell after the point, 0 for ideal ones.
    """

    data: Tensor
    slice_planes: tuple[int, ...]
    plane_weights: tuple[int, ...]
    dummies: tuple[int, ...]
    low: int
    high: int
    fraction: int


@dataclass(frozen=True)
class Converters:
    """What becomes of a partial sum.

        code = clamp(round(float(v) * gain + shift), 0, top)   or   codes[v - low]   or   v itself
        y    = (base + sum of factor * codes) * scale + bias

    Attributes:
        factor: float64 [input bits or 1, slices, converters]; input bits that share converters are added as integers,
            2^z each, before the factor. One converter for all columns, or one per output channel.
        base: float64 [converters].
        gain, shift: float32, of the shape of `factor`; None: no conversion, or a table.
        top: largest code.
        codes: uint8 [(input bits or 1) * slices, partial sums], from the smallest on.
    """

    factor: Tensor
    base: Tensor
    gain: Tensor | None = None
    shift: Tensor | None = None
    top: int = 255
    codes: Tensor | None = None


@dataclass(frozen=True)
class ReadNoise:
    """Noise that is new at every conversion.

    Attributes:
        amplitude: int32, its standard deviation by number of active rows, times 16 and in the cells' units.
        seed: of the chip and the layer.
        first_image: number of the batch's first image.
    """

    amplitude: Tensor
    seed: int
    first_image: int = 0


def positions(layout: Layout) -> Tensor:
    """Return the row that holds each weight, int64 [channels, taps]: arrays one after another, each on whole words."""
    taps = layout.kernel_h * layout.kernel_w
    per, channel, tap = layout.channels_per_array, torch.arange(layout.channels)[:, None], torch.arange(taps)[None]
    words = -(-(per if layout.tap else per * taps) // WORD_BITS)
    if layout.tap:
        return (tap * layout.chunks + channel // per) * words * WORD_BITS + channel % per
    return (channel // per) * words * WORD_BITS + tap * per + channel % per


def row_count(layout: Layout) -> int:
    """Return the rows of all arrays, unused ones included."""
    taps = layout.kernel_h * layout.kernel_w
    held = layout.channels_per_array * (1 if layout.tap else taps)
    return layout.arrays * -(-held // WORD_BITS) * WORD_BITS


def ideal_cells(plus: Tensor, minus: Tensor, slicing: Slicing, layout: Layout) -> Cells:
    """Pack the levels of `Slicing.cells`, uint8 [slices, O, C, kh, kw] each, as bit planes.

    A dummy column whose level has all bits set is subtracted by storing the complement instead.
    """
    planes: list[Tensor] = []
    slice_planes: list[int] = []
    weights: list[int] = []
    dummies: list[int] = []
    reach_low, reach_high = 0, 0
    held = layout.channels_per_array * (1 if layout.tap else layout.kernel_h * layout.kernel_w)
    for c, width in enumerate(slicing.widths):
        dummy = int(minus[c].flatten()[0]) if slicing.encoding == "offset" and minus.numel() else 0
        operands = [(plus[c], 1)]
        if slicing.encoding == "differential":
            operands.append((minus[c], -1))
        elif dummy == 2**width - 1:
            operands, dummy = [(minus[c] - plus[c], -1)], 0
        for levels, sign in operands:
            for bit in range(width):
                planes.append((levels >> bit) & 1)
                weights.append(sign * 2**bit)
        slice_planes.append(len(operands) * width)
        dummies.append(-dummy)
        counted = weights[-slice_planes[-1] :]
        reach_low = min(reach_low, sum(w for w in counted if w < 0) - dummy)
        reach_high = max(reach_high, sum(w for w in counted if w > 0))
    bits = torch.zeros(len(planes), plus.shape[1], row_count(layout), dtype=torch.uint8)
    bits[:, :, positions(layout).flatten()] = torch.stack(planes).flatten(2)
    packed = torch.from_numpy(np.packbits(bits.numpy(), axis=-1, bitorder="little"))
    return Cells(
        packed, tuple(slice_planes), tuple(weights), tuple(dummies), reach_low * held, reach_high * held, fraction=0
    )


def grid_cells(values: Tensor, layout: Layout) -> Cells:
    """Round cells of any value to the finest grid on which the partial sums of an array fit 16 bits.

    Args:
        values: float64 [slices, O, C, kh, kw], in cell steps.
    """
    rows = torch.zeros(*values.shape[:2], row_count(layout), dtype=torch.float64)
    rows[:, :, positions(layout).flatten()] = values.flatten(2)
    by_array = rows.view(*values.shape[:2], layout.arrays, -1)
    reach = max(float(by_array.clamp(min=0).sum(-1).max()), float(-by_array.clamp(max=0).sum(-1).min()), 1e-9)
    # Half a grid step per row is left for rounding.
    fraction = min(FINEST, math.floor(math.log2((MOST - by_array.shape[-1]) / reach)))
    data = (rows * 2.0**fraction).round().short()
    sums = data.view(by_array.shape).int()
    low, high = int(sums.clamp(max=0).sum(-1).min()), int(sums.clamp(min=0).sum(-1).max())
    return Cells(data, (1,) * values.shape[0], (), (), low, high, fraction)


@cache
def normal_quantiles() -> Tensor:
    """Return the middle quantiles of the standard normal distribution times 4096, int16 [4096]."""
    middles = (torch.arange(NORMAL_QUANTILES, dtype=torch.float64) + 0.5) / NORMAL_QUANTILES
    quantiles: Tensor = torch.special.ndtri(middles) * 4096
    return quantiles.round().short()


def bit_serial_conv2d(
    x_bits: Tensor,
    cells: Cells,
    converters: Converters,
    *,
    layout: Layout,
    channels: int,
    scale: float = 1.0,
    bias: Tensor | None = None,
    noise: ReadNoise | None = None,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
) -> Tensor:
    """Convolve packed codes, bit z of which is plane z, with sliced weights.

    Args:
        x_bits: uint8 [input bits, N, H, W, bytes], of `pack_pixels` with the layout's channels_per_array.
        cells, converters, noise: see there.
        layout: how the reduction is cut into arrays.
        scale: of the sum; `bias`, float32 [O], is added after it.

    Returns:
        float32 [N, O, H', W'].

    Raises:
        RuntimeError: operands that do not fit each other.
    """
    load()
    result: Tensor = torch.ops.bnnkit.bit_serial_conv2d(
        x_bits,
        cells.data,
        list(cells.slice_planes),
        list(cells.plane_weights),
        list(cells.dummies),
        converters.codes,
        cells.low,
        converters.gain,
        converters.shift,
        float(converters.top),
        converters.factor,
        converters.base,
        scale,
        bias,
        *_noise_arguments(noise),
        *_geometry(channels, layout, stride, padding),
    )
    return result


def bit_serial_histogram(
    x_bits: Tensor,
    cells: Cells,
    *,
    layout: Layout,
    channels: int,
    by_column: bool,
    noise: ReadNoise | None = None,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
) -> Tensor:
    """Count the partial sums that `bit_serial_conv2d` would convert.

    Returns:
        int64 [input bits * slices, O or 1, cells.high - cells.low + 1].
    """
    load()
    result: Tensor = torch.ops.bnnkit.bit_serial_histogram(
        x_bits,
        cells.data,
        list(cells.slice_planes),
        list(cells.plane_weights),
        list(cells.dummies),
        cells.low,
        cells.high,
        by_column,
        *_noise_arguments(noise),
        *_geometry(channels, layout, stride, padding),
    )
    return result


def _noise_arguments(noise: ReadNoise | None) -> tuple[Tensor | None, Tensor | None, int, int]:
    if noise is None:
        return None, None, 0, 0
    return noise.amplitude, normal_quantiles(), noise.seed, noise.first_image


def _geometry(channels: int, layout: Layout, stride: Pair, padding: Pair) -> tuple[object, ...]:
    kernel = [layout.kernel_h, layout.kernel_w]
    return channels, kernel, list(stride), list(padding), [1, 1], layout.channels_per_array, layout.tap
