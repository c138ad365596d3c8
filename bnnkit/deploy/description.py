"""A packed network as plain data: every step with the numbers it computes with, for whoever writes networks down.

The builder makes the steps of a network by the functions of the compiled module; this module has the same functions,
and the "steps" they return keep what they were given. Meaning, order and rounding of everything are those of
csrc/deploy/step.h and steps.h; shapes are (channels, height, width), buffers are numbered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bnnkit.cim import Layout
from bnnkit.deploy.geometry import Shape, conv_shape

Floats: TypeAlias = NDArray[np.float32]
Integers: TypeAlias = NDArray[np.int32]


@dataclass(frozen=True, eq=False, kw_only=True)
class Activation:
    """v = v * scale + shift; v += bias_in; v = v > 0 ? v : v * slope; v += bias_out. All per channel."""

    scale: Floats | None
    shift: Floats | None
    bias_in: Floats
    slope: Floats
    bias_out: Floats


@dataclass(frozen=True, eq=False, kw_only=True)
class IntegerFinish:
    """What happens to integer values, in this order; see `IntegerFinish` in csrc/deploy/step.h.

    Attributes:
        one: not 0: values are floats and become rint(v * one), saturated at the magnitudes `bound` [channels].
        shifts, signs: [digits, channels]; values become the sum over digits of sign * ((v << lift) >> shift), shifts
            rounding down; None: they stay.
        bias_in, right, left, bias_out: v += bias_in; v = v < 0 ? v >> right << left : v; v += bias_out; or None.
        thresholds: keep the bit v >= threshold; None: keep none.
    """

    one: float = 0.0
    bound: Integers | None = None
    lift: int = 0
    shifts: Integers | None = None
    signs: Integers | None = None
    bias_in: Integers | None = None
    right: Integers | None = None
    left: Integers | None = None
    bias_out: Integers | None = None
    thresholds: Integers | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Finish:
    """What happens to a step's values, in the order of the attributes; every arithmetic step rounds to float32 once.

    Attributes:
        out: buffer that receives the result.
        activation: or None.
        residual: values of this buffer are added; -1: none. In integer steps after the scale.
        pool: maximum over 2 x 2 pixels, before all else.
        scale, shift: v * scale + shift per channel, or None.
        clamp: to [-1, 1].
        floats: values are kept.
        planes: bits of a kept code; 0: none. The code is the number of `thresholds` passed: v > t where `strict`, else
            v >= t. Plane p is bit p of the code, or (thermometer) whether threshold p is passed.
        sum_thresholds, flip: where only codes matter: the number of thresholds t with sum >= sum_thresholds[t,
            channel], or -sum where flip[channel] is -1 instead of 0. They replace scale, shift, clamp and thresholds.
        integers: values are integers, and only `out`, `residual`, `floats` and `planes` hold besides.
    """

    out: int
    activation: Activation | None = None
    residual: int = -1
    pool: bool = False
    scale: Floats | None = None
    shift: Floats | None = None
    clamp: bool = False
    floats: bool = True
    planes: int = 0
    thermometer: bool = False
    strict: bool = True
    thresholds: Sequence[float] = ()
    sum_thresholds: Integers | None = None
    flip: Integers | None = None
    integers: IntegerFinish | None = None


@dataclass(frozen=True, eq=False)
class ImageStep:
    """Pixels as values: values[channel, byte]; `shape` is `in_shape`, or flat."""

    name: str
    in_shape: Shape
    shape: Shape
    values: Floats
    finish: Finish


@dataclass(frozen=True, eq=False)
class ThermometerStep:
    """Pixels as bits: plane p of a channel is set where set_bits[byte] > p; bits of a pixel: channel * planes + p."""

    name: str
    in_shape: Shape
    planes: int
    set_bits: Sequence[int]
    finish: Finish


@dataclass(frozen=True, eq=False)
class WindowStep:
    """What a shortcut does to values; see `Window` in csrc/deploy/steps.h."""

    name: str
    in_buffer: int
    in_shape: Shape
    finish: Finish
    size: int = field(default=1, kw_only=True)
    stride: int = field(default=1, kw_only=True)
    pad: int = field(default=0, kw_only=True)
    repeats: int = field(default=1, kw_only=True)
    maximum: bool = field(default=False, kw_only=True)
    integers: bool = field(default=False, kw_only=True)
    level_thresholds: Sequence[float] = field(default=(), kw_only=True)
    level_values: Sequence[float] = field(default=(), kw_only=True)


@dataclass(frozen=True, eq=False)
class SignedSumStep:
    """Integer values, without their `drop` lowest bits, added with signs [outputs, channels] of +-1."""

    name: str
    in_buffer: int
    in_shape: Shape
    signs: NDArray[np.int8]
    drop: int
    finish: Finish


@dataclass(frozen=True, eq=False)
class DenseStep:
    """A convolution of values, weights [outputs, channels, kernel_h, kernel_w], summed in double, rounded once.

    Products are added in the order of the taps, row by row of the kernel, within a tap of the channels; then the bias.
    """

    name: str
    in_buffer: int
    in_shape: Shape
    weights: Floats
    bias: Floats | None
    stride: tuple[int, int]
    padding: tuple[int, int]
    finish: Finish


@dataclass(frozen=True, eq=False)
class MeanStep:
    """The mean over all pixels in double, rounded once; with `one` values are integers for value / one."""

    name: str
    in_buffer: int
    in_shape: Shape
    one: float
    finish: Finish


@dataclass(frozen=True, eq=False, kw_only=True)
class ArrayWeights:
    """Weight bits of a layer and how they lie on arrays; arguments of `_C.ArrayWeights`.

    Attributes:
        bits: uint8, without gaps, plane after plane, in the order of the layer's weight.
        channels_per_array: input channels of an array; the last one may have fewer.
        tap: an array holds channels of one tap (mapping "tap") instead of all taps.
        x_thermometer, w_thermometer: planes all count 1, instead of powers of two.
        flatten: `in_shape` are the features of a linear layer whose input is pixels of several channels.
    """

    bits: NDArray[np.uint8]
    planes: int
    outputs: int
    in_shape: Shape
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    channels_per_array: int
    tap: bool
    x_planes: int
    x_thermometer: bool
    w_thermometer: bool
    flatten: bool

    @property
    def layout(self) -> Layout:
        """How the layer is cut into arrays; `rows` are those of its largest array."""
        kernel_h, kernel_w = self.kernel
        rows = self.channels_per_array * (1 if self.tap else kernel_h * kernel_w)
        return Layout(self.in_shape[0], kernel_h, kernel_w, rows, self.channels_per_array, self.tap)


@dataclass(frozen=True, eq=False, kw_only=True)
class ArrayStep:
    """A layer on arrays: scale * (sum of converted partial sums) + offset + bias, in double, rounded once.

    Attributes:
        offset: of every array; their sum is added.
        thresholds, levels: a partial sum becomes levels[number of thresholds t with sum >= t]; None: it stays.
        gate: of a layer with precision gates, [outputs], else None. Plane 1 (high) and plane 0 (low) are then converted
            and summed one after the other, each bit counting 1; the sum is 2 * high, plus low where high >= gate.
    """

    name: str
    in_buffer: int
    in_shape: Shape
    weights: ArrayWeights
    thresholds: Integers | None
    levels: Integers | None
    scale: float
    offset: float
    bias: Floats | None
    gate: Integers | None
    finish: Finish


Step: TypeAlias = ImageStep | ThermometerStep | WindowStep | SignedSumStep | DenseStep | MeanStep | ArrayStep


@dataclass(frozen=True, eq=False)
class Description:
    """Steps of a packed network in the order in which they run; the last one's values are the logits.

    Attributes:
        config: arguments of `create_model`.
        in_shape: of an image, uint8.
    """

    config: dict[str, Any]
    in_shape: Shape
    classes: int
    steps: tuple[Step, ...]


def out_shape(step: Step) -> Shape:
    """Return the shape a step leaves behind, after pooling."""
    if isinstance(step, ImageStep):
        return step.shape
    channels, height, width = step.in_shape
    if isinstance(step, ThermometerStep):
        return channels * step.planes, height, width
    if isinstance(step, MeanStep):
        return channels, 1, 1
    if isinstance(step, SignedSumStep):
        return len(step.signs), height, width
    if isinstance(step, WindowStep):
        window = (step.size, step.size), (step.stride, step.stride), (step.pad, step.pad)
        return conv_shape(step.in_shape, channels * step.repeats, *window, False)
    if isinstance(step, DenseStep):
        kernel = step.weights.shape[2], step.weights.shape[3]
        return conv_shape(step.in_shape, len(step.weights), kernel, step.stride, step.padding, step.finish.pool)
    weights = step.weights
    return conv_shape(
        weights.in_shape, weights.outputs, weights.kernel, weights.stride, weights.padding, step.finish.pool
    )


# The names that the builder knows them by.
image_step, thermometer_step, window_step = ImageStep, ThermometerStep, WindowStep
signed_sum_step, dense_step, mean_step = SignedSumStep, DenseStep, MeanStep


def array_step(*, like: ArrayStep | None, gate_skips: bool, **arguments: Any) -> ArrayStep:
    """Return an array step; what only decides how fast it runs is left out."""
    return ArrayStep(**arguments)
