"""Which input each word line of an array is, and which cells it meets: the arrays of a described layer, bit by bit."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bnnkit.deploy.description import ArrayStep, ArrayWeights
from bnnkit.deploy.geometry import conv_shape

Bits: TypeAlias = NDArray[np.uint8]
Ints: TypeAlias = NDArray[np.int64]


def word_lines(weights: ArrayWeights, array: int) -> Ints:
    """Return the inputs of an array's word lines: int64 [rows, 3] of input channel, kernel row, kernel column.

    Taps come one after the other, row by row of the kernel; within a tap its channels ascend.

    >>> layout = _example().layout
    >>> layout.arrays, [layout.rows_of(s) for s in range(layout.arrays)]
    (2, [18, 9])
    >>> word_lines(_example(), 1)[:4].tolist()
    [[2, 0, 0], [2, 0, 1], [2, 0, 2], [2, 1, 0]]
    """
    layout = weights.layout
    taps = [(ky, kx) for ky in range(layout.kernel_h) for kx in range(layout.kernel_w)]
    if weights.tap:
        taps = [taps[array // layout.chunks]]
    return np.array([(channel, *tap) for tap in taps for channel in layout.channels_of(array)], np.int64)


def plane_weights(planes: int, thermometer: bool) -> Ints:
    """Return what each plane of bits counts: powers of two, or 1 for every plane of a thermometer.

    >>> plane_weights(3, False).tolist(), plane_weights(2, True).tolist()
    ([1, 2, 4], [1, 1])
    """
    return np.array([1 if thermometer else 1 << p for p in range(planes)], np.int64)


def integers(bits: Bits, thermometer: bool) -> Ints:
    """Return the integers of planes of bits [planes, ...]: bit 1 is +1, bit 0 is -1, times the plane's weight.

    >>> integers(np.array([[0, 1], [0, 1]], np.uint8), False).tolist()
    [-3, 3]
    """
    return np.tensordot(plane_weights(len(bits), thermometer), 2 * bits.astype(np.int64) - 1, 1)


def cells(weights: ArrayWeights) -> Bits:
    """Return the weight bits of a layer: uint8 [planes, outputs, channels, kernel_h, kernel_w].

    >>> cells(_example()).shape
    (1, 2, 3, 3, 3)
    """
    shape = (weights.planes, weights.outputs, weights.in_shape[0], *weights.kernel)
    return np.unpackbits(weights.bits, bitorder="little", count=int(np.prod(shape))).reshape(shape)


def out_size(weights: ArrayWeights) -> tuple[int, int]:
    """Return height and width of what a layer computes, before any pooling."""
    return conv_shape(weights.in_shape, weights.outputs, weights.kernel, weights.stride, weights.padding, False)[1:]


def gather(pixels: NDArray[Any], weights: ArrayWeights, lines: Ints) -> NDArray[Any]:
    """Return what word lines see: [..., channels, height, width] -> [..., rows, out_height, out_width].

    Taps beside the image see 0.

    >>> gather(np.ones((3, 4, 4), int), _example(), word_lines(_example(), 1))[:, 0, 0].tolist()
    [0, 0, 0, 0, 1, 1, 0, 1, 1]
    """
    (stride_h, stride_w), (pad_h, pad_w) = weights.stride, weights.padding
    height, width = out_size(weights)
    padded = np.pad(pixels, [(0, 0)] * (pixels.ndim - 2) + [(pad_h, pad_h), (pad_w, pad_w)])
    seen = [
        padded[..., c, ky : ky + stride_h * height : stride_h, kx : kx + stride_w * width : stride_w]
        for c, ky, kx in lines.tolist()
    ]
    return np.stack([plane[..., :height, :width] for plane in seen], axis=-3)


def enabled(weights: ArrayWeights, lines: Ints) -> Bits:
    """Return which word lines take part: uint8 [rows, out_height, out_width], 0 for taps beside the image."""
    return gather(np.ones(weights.in_shape, np.uint8), weights, lines)


def passes(step: ArrayStep) -> tuple[tuple[int, ...], ...]:
    """Return the planes of inputs that an array sums before a conversion, conversion after conversion.

    All at once, except in layers with precision gates: the high plane, then the low plane.
    """
    return ((1,), (0,)) if step.gate is not None else (tuple(range(step.weights.x_planes)),)


def _example() -> ArrayWeights:
    return ArrayWeights(
        bits=np.zeros(7, np.uint8),
        planes=1,
        outputs=2,
        in_shape=(3, 4, 4),
        kernel=(3, 3),
        stride=(1, 1),
        padding=(1, 1),
        channels_per_array=2,
        tap=False,
        x_planes=1,
        x_thermometer=False,
        w_thermometer=False,
        flatten=False,
    )
