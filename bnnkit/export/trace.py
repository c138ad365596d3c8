"""A described network played in plain NumPy, step by step: slow, short, and independent of the compiled code.

What it computes in between - bits that layers read, partial sums, codes of converters - is what golden vectors for
hardware are made of. Meaning and rounding of every step are those of `bnnkit.deploy.description`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bnnkit.deploy.description import (
    Activation,
    ArrayStep,
    ArrayWeights,
    DenseStep,
    Description,
    Finish,
    ImageStep,
    IntegerFinish,
    MeanStep,
    SignedSumStep,
    Step,
    ThermometerStep,
    WindowStep,
)
from bnnkit.errors import UsageError
from bnnkit.export import wiring
from bnnkit.export.wiring import Bits, Ints

Values: TypeAlias = NDArray[Any]
"""float32, or int64 in networks of integers: [N, channels, height, width]."""


@dataclass(frozen=True, eq=False)
class Buffer:
    """What a step leaves behind: values, bits [planes, N, channels, height, width], or both."""

    values: Values | None
    bits: Bits | None


@dataclass(frozen=True, eq=False, kw_only=True)
class LayerTrace:
    """What happened in a layer on arrays; `conversions` are those of `wiring.passes`.

    Attributes:
        bits: what it read, uint8 [planes, N, channels, height, width]; one pixel of all values where it flattens.
        sums: partial sums, int64 [conversions, arrays, N, outputs, height, width], before any pooling.
        codes: of the converters, like `sums`; None where there is no converter.
        totals: levels (or partial sums) added over arrays, int64 [conversions, N, outputs, height, width].
        opens: whether precision gates are open, bool [N, outputs, height, width]; or None.
        total: the layer's integer result [N, outputs, height, width]: `totals[0]`, with gates 2 * high + open * low.
        residual: values of the shortcut that its `Finish` adds [N, outputs, height, width]; or None.
        folded: where only the output's code matters, that code, int64 [N, outputs, height, width]; or None.
        out: what it left behind, after everything in its `Finish`.
    """

    step: ArrayStep
    bits: Bits
    sums: Ints
    codes: Ints | None
    totals: Ints
    opens: NDArray[np.bool_] | None
    total: Ints
    residual: Values | None
    folded: Ints | None
    out: Buffer


def play(
    network: Description, images: Bits, visit: Callable[[LayerTrace], None] = lambda layer: None
) -> NDArray[np.float32]:
    """Run a described network and return the logits [N, classes].

    Args:
        images: uint8 [N, *in_shape], as stored, at least one.
        visit: is given what happened in each layer on arrays, as soon as it has run. It is not kept otherwise: the
            partial sums of a whole network are large.

    Raises:
        UsageError: images of another shape or type.

    >>> import torch
    >>> from bnnkit import create_model, deploy
    >>> packed = deploy.compile(create_model("mlp", in_shape=(1, 8, 8)).eval(), (0.5,), (0.25,))
    >>> images = torch.randint(0, 256, (2, 1, 8, 8), dtype=torch.uint8)
    >>> layers: list[LayerTrace] = []
    >>> logits = play(packed.describe(), images.numpy(), layers.append)
    >>> bool((torch.from_numpy(logits) == packed(images)).all()), layers[0].sums.shape
    (True, (1, 1, 2, 512, 1, 1))
    """
    if images.ndim != 4 or images.shape[1:] != tuple(network.in_shape) or images.dtype != np.uint8 or not len(images):
        needed = ", ".join(map(str, network.in_shape))
        raise UsageError(
            f"images: {list(images.shape)} {images.dtype}; uint8 [N, {needed}] with at least one was needed",
            hint="give images as they are stored",
        )
    buffers: dict[int, Buffer] = {}
    for step in network.steps:
        if isinstance(step, ArrayStep):
            layer = _array(step, buffers)
            buffers[step.finish.out] = layer.out
            visit(layer)
        else:
            buffers[step.finish.out] = _other(step, images, buffers)
    return _values(network.steps[-1].finish.out, buffers).reshape(len(images), -1)


def _other(step: Step, images: Bits, buffers: dict[int, Buffer]) -> Buffer:
    if isinstance(step, ThermometerStep):
        return Buffer(None, _thermometer(step, images))
    if isinstance(step, ImageStep):
        values = step.values[np.arange(images.shape[1])[None, :, None, None], images]
        return _finish(values.reshape(len(images), *step.shape), step.finish, buffers)
    assert not isinstance(step, ArrayStep)
    values = _values(step.in_buffer, buffers)
    if isinstance(step, DenseStep):
        values = _dense(step, values)
    elif isinstance(step, MeanStep):
        values = _mean(step, values)
    elif isinstance(step, WindowStep):
        values = _window(step, values)
    else:
        values = _signed_sum(step, values)
    return _finish(values, step.finish, buffers)


def _values(buffer: int, buffers: dict[int, Buffer]) -> Values:
    values = buffers[buffer].values
    assert values is not None, "the description reads values that nothing left behind"
    return values


def _thermometer(step: ThermometerStep, images: Bits) -> Bits:
    counts = np.array(step.set_bits)[images][:, :, None]  # [N, channels, 1, height, width]
    planes = (counts > np.arange(step.planes)[None, None, :, None, None]).astype(np.uint8)
    return planes.reshape(1, len(images), -1, *images.shape[2:])


def _array(step: ArrayStep, buffers: dict[int, Buffer]) -> LayerTrace:
    weights, read = step.weights, buffers[step.in_buffer].bits
    assert read is not None, "the description reads bits that nothing left behind"
    bits = read.reshape(*read.shape[:2], *weights.in_shape)  # a layer that flattens: channel, row, column
    rows = [wiring.word_lines(weights, s) for s in range(weights.layout.arrays)]
    held = wiring.integers(wiring.cells(weights), weights.w_thermometer)
    inputs = [wiring.integers(bits[list(planes)], weights.x_thermometer) for planes in wiring.passes(step)]
    sums = np.stack([[_partial_sums(weights, x, held, lines) for lines in rows] for x in inputs])
    codes = levels = None
    if step.thresholds is not None and step.levels is not None:
        codes = np.searchsorted(step.thresholds, sums, side="right")  # how many thresholds are reached
        levels = step.levels.astype(np.int64)[codes]
    totals: Ints = (sums if levels is None else levels).sum(axis=1)
    total, opens = totals[0], None
    if step.gate is not None:
        opens = totals[0] >= step.gate[:, None, None]
        total = 2 * totals[0] + np.where(opens, totals[1], 0)
    folded = _folded(total, step.finish)
    if folded is not None:
        out = Buffer(None, _planes(folded, step.finish))
    elif step.finish.integers is not None:
        out = _finish(total, step.finish, buffers)
    else:
        out = _finish(_scaled(step, total, len(rows)), step.finish, buffers)
    return LayerTrace(
        step=step,
        bits=bits,
        sums=sums,
        codes=codes,
        totals=totals,
        opens=opens,
        total=total,
        residual=None if step.finish.residual < 0 else _values(step.finish.residual, buffers),
        folded=folded,
        out=out,
    )


def _partial_sums(weights: ArrayWeights, inputs: Ints, held: Ints, lines: Ints) -> Ints:
    """Sum the products on the word lines of an array; padded taps are 0, neither +1 nor -1."""
    channel, ky, kx = lines.T
    x = wiring.gather(inputs, weights, lines)  # [N, rows, height, width]
    w = held[:, channel, ky, kx].astype(np.float64)  # [outputs, rows]
    sums = w @ x.reshape(*x.shape[:2], -1).astype(np.float64)  # exact, and much faster than a product of integers
    return sums.astype(np.int64).reshape(len(x), len(w), *x.shape[2:])


def _scaled(step: ArrayStep, total: Ints, arrays: int) -> Values:
    values = step.scale * total.astype(np.float64) + step.offset * arrays
    if step.bias is not None:
        values = values + step.bias.astype(np.float64)[:, None, None]
    result: Values = values.astype(np.float32)
    return result


def _dense(step: DenseStep, values: Values) -> Values:
    """Add products in double in the order of the taps, within a tap of the channels; then the bias."""
    kernel_h, kernel_w = step.weights.shape[2:]
    (stride_h, stride_w), (pad_h, pad_w) = step.stride, step.padding
    padded = np.pad(values.astype(np.float64), [(0, 0), (0, 0), (pad_h, pad_h), (pad_w, pad_w)])
    height, width = ((padded.shape[2 + i] - (kernel_h, kernel_w)[i]) // step.stride[i] + 1 for i in range(2))
    total = np.zeros((len(values), len(step.weights), height, width))
    for ky in range(kernel_h):
        for kx in range(kernel_w):
            seen = padded[:, :, ky : ky + stride_h * height : stride_h, kx : kx + stride_w * width : stride_w]
            seen = seen[:, :, :height, :width]
            for c in range(values.shape[1]):
                total += seen[:, None, c] * step.weights[:, c, ky, kx].astype(np.float64)[:, None, None]
    if step.bias is not None:
        total += step.bias.astype(np.float64)[:, None, None]
    return total.astype(np.float32)


def _mean(step: MeanStep, values: Values) -> Values:
    """Add in double, pixel after pixel; integers are exact."""
    pixels = values.reshape(*values.shape[:2], -1)
    total = np.zeros(pixels.shape[:2])
    for p in range(pixels.shape[2]):
        total += pixels[:, :, p]
    mean: Values = (total / (pixels.shape[2] * (step.one or 1.0))).astype(np.float32)
    return mean[:, :, None, None]


def _window(step: WindowStep, values: Values) -> Values:
    if len(step.level_values):
        thresholds = np.array(step.level_thresholds, np.float32)
        values = np.array(step.level_values, np.float32)[_passed(values, thresholds, strict=False)]
    lowest = np.iinfo(values.dtype).min if step.integers else -np.inf
    pads = [(0, 0), (0, 0), (step.pad, step.pad), (step.pad, step.pad)]
    padded = np.pad(values, pads, constant_values=lowest)
    height, width = ((size - step.size) // step.stride + 1 for size in padded.shape[2:])
    rows, columns = (slice(0, step.stride * (n - 1) + 1, step.stride) for n in (height, width))
    seen = [padded[:, :, ky:, kx:][:, :, rows, columns] for ky in range(step.size) for kx in range(step.size)]
    if step.maximum:
        found = seen[0]
        for other in seen[1:]:
            found = np.maximum(found, other)
    elif step.size == 1:
        found = seen[0]
    elif step.integers:
        found = np.sum(seen, axis=0) >> 2
    else:
        a, b, c, d = (value.astype(np.float64) for value in seen)
        found = ((a + b + c + d) / 4).astype(np.float32)
    return np.concatenate([found] * step.repeats, axis=1)


def _signed_sum(step: SignedSumStep, values: Values) -> Values:
    sums: Values = np.einsum("oc,nchw->nohw", step.signs.astype(np.int64), values >> step.drop)
    return sums


def _finish(values: Values, finish: Finish, buffers: dict[int, Buffer]) -> Buffer:
    if finish.integers is not None:
        return _finish_integers(values, finish, finish.integers, buffers)
    if finish.pool:
        height, width = (size // 2 * 2 for size in values.shape[2:])
        corners = [values[:, :, ky:height:2, kx:width:2] for ky in range(2) for kx in range(2)]
        values = np.maximum(np.maximum(corners[0], corners[1]), np.maximum(corners[2], corners[3]))
    if finish.activation is not None:
        values = _activated(values, finish.activation)
    if finish.residual >= 0:
        values = values + _values(finish.residual, buffers)
    if finish.scale is not None and finish.shift is not None:
        values = values * finish.scale[:, None, None] + finish.shift[:, None, None]
    if finish.clamp:
        values = np.clip(values, np.float32(-1), np.float32(1))
    assert values.dtype == np.float32
    bits = None
    if finish.planes:
        thresholds = np.array(finish.thresholds, np.float32)
        bits = _planes(_passed(values, thresholds, finish.strict), finish)
    return Buffer(values if finish.floats else None, bits)


def _activated(values: Values, activation: Activation) -> Values:
    per_channel = (slice(None), None, None)
    if activation.scale is not None and activation.shift is not None:
        values = values * activation.scale[per_channel] + activation.shift[per_channel]
    values = values + activation.bias_in[per_channel]
    values = np.where(values > 0, values, values * activation.slope[per_channel])
    return values + activation.bias_out[per_channel]


def _finish_integers(values: Values, finish: Finish, end: IntegerFinish, buffers: dict[int, Buffer]) -> Buffer:
    per_channel = (slice(None), None, None)
    if end.one != 0 and end.bound is not None:
        bound = end.bound[per_channel].astype(np.float64)
        values = np.clip(np.rint(values.astype(np.float64) * end.one), -bound, bound).astype(np.int64)
    if end.shifts is not None and end.signs is not None:
        lifted = values << end.lift
        digits = zip(end.signs.astype(np.int64), end.shifts.astype(np.int64), strict=True)
        values = sum(sign[per_channel] * (lifted >> shift[per_channel]) for sign, shift in digits)
    if finish.residual >= 0:
        values = values + _values(finish.residual, buffers)
    if end.bias_in is not None and end.right is not None and end.left is not None and end.bias_out is not None:
        values = values + end.bias_in[per_channel]
        values = np.where(values < 0, values >> end.right[per_channel] << end.left[per_channel], values)
        values = values + end.bias_out[per_channel]
    bits = None
    if end.thresholds is not None:
        bits = (values >= end.thresholds[per_channel]).astype(np.uint8)[None]
    return Buffer(values if finish.floats else None, bits)


def _passed(values: Values, thresholds: NDArray[np.float32], strict: bool) -> Ints:
    passed = values[..., None] > thresholds if strict else values[..., None] >= thresholds
    codes: Ints = passed.sum(axis=-1)
    return codes


def _folded(total: Ints, finish: Finish) -> Ints | None:
    """Return the codes of sums where normalization and quantization are thresholds on them."""
    if finish.sum_thresholds is None or finish.flip is None:
        return None
    directed = np.where(finish.flip[:, None, None] != 0, -total, total)
    codes: Ints = (directed[None] >= finish.sum_thresholds[:, None, :, None, None]).sum(axis=0)
    return codes


def _planes(codes: Ints, finish: Finish) -> Bits:
    planes = range(finish.planes)
    return np.stack([codes > p if finish.thermometer else codes >> p & 1 for p in planes]).astype(np.uint8)
