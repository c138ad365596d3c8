"""What happens to a step's values, as ONNX nodes: activation, shortcut, pooling, normalization, codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from bnnkit.deploy.description import Activation, Finish, IntegerFinish
from bnnkit.export.onnx.graph import Graph, Value


@dataclass
class Buffers:
    """What the steps so far have left, by buffer; float32, in integer steps float64.

    Attributes:
        values: [N, channels, height, width].
        codes: as integers 2 * code - (levels - 1), float32: -1 and 1 for one bit.
    """

    values: dict[int, Value] = field(default_factory=dict)
    codes: dict[int, Value] = field(default_factory=dict)


def finish(graph: Graph, end: Finish, value: Value, buffers: Buffers) -> None:
    """Add the end of a step whose values are `value`, and note what it leaves."""
    if end.integers is not None:
        _finish_integers(graph, end, end.integers, value, buffers)
    elif end.sum_thresholds is not None:
        buffers.codes[end.out] = _codes_of_sums(graph, end, value)
    else:
        _finish_values(graph, end, value, buffers)


def staircase(
    graph: Graph,
    part: str,
    value: Value,
    thresholds: NDArray[Any],
    levels: Sequence[float],
    *,
    strict: bool = False,
) -> Value:
    """Add: levels[number of thresholds t with value >= t], or value > t if `strict`; float32.

    Args:
        thresholds: [count, ...], of the type of `value`, which they broadcast with.
    """
    compare = "Greater" if strict else "GreaterOrEqual"
    if len(thresholds) == 1:
        passed = graph.add(compare, f"{part}.passed", value, _bound(graph, part, thresholds[0]))
        return graph.add("Where", part, passed, graph.number(levels[1]), graph.number(levels[0]))
    one_more = graph.add("Unsqueeze", f"{part}.values", value, graph.integers(1))
    passed = graph.add(compare, f"{part}.passed", one_more, graph.constant(f"{part}.thresholds", thresholds))
    ones = graph.cast(f"{part}.ones", passed, np.int32)
    count = graph.add("ReduceSum", f"{part}.code", ones, graph.integers(1), keepdims=0)
    return graph.add("Gather", part, graph.table("levels", np.asarray(levels, np.float32)), count)


def _finish_values(graph: Graph, end: Finish, value: Value, buffers: Buffers) -> None:
    if end.activation is not None:
        value = _activation(graph, end.activation, value)
    if end.residual >= 0:
        value = graph.add("Add", "shortcut", value, buffers.values[end.residual])
    if end.pool:
        value = graph.add("MaxPool", "pool", value, kernel_shape=[2, 2], strides=[2, 2])
    if end.scale is not None and end.shift is not None:
        value = _scale_and_shift(graph, "norm", value, end.scale, end.shift)
    if end.clamp:
        value = graph.add("Clip", "clip", value, graph.number(-1), graph.number(1))
    if end.floats:
        buffers.values[end.out] = value
    if end.planes:
        thresholds = np.asarray(end.thresholds, np.float32).reshape(-1, 1, 1, 1)
        buffers.codes[end.out] = _codes(graph, value, thresholds, strict=end.strict)


def _bound(graph: Graph, part: str, threshold: NDArray[Any]) -> Value:
    if threshold.size == 1:
        return graph.number(threshold.item(), threshold.dtype)
    return graph.constant(f"{part}.thresholds", threshold)


def _codes(graph: Graph, value: Value, thresholds: NDArray[Any], *, strict: bool = False) -> Value:
    top = len(thresholds)
    return staircase(graph, "bits", value, thresholds, range(-top, top + 1, 2), strict=strict)


def _codes_of_sums(graph: Graph, end: Finish, sums: Value) -> Value:
    """Sums are compared with thresholds into which normalization and quantization were folded."""
    assert end.sum_thresholds is not None and end.flip is not None
    if end.flip.any():
        direction = graph.per_channel("direction", np.where(end.flip != 0, -1, 1), np.float32)
        sums = graph.add("Mul", "directed", sums, direction)
    return _codes(graph, sums, end.sum_thresholds.astype(np.float32)[..., None, None])


def _activation(graph: Graph, activation: Activation, value: Value) -> Value:
    if activation.scale is not None and activation.shift is not None:
        value = _scale_and_shift(graph, "inner_norm", value, activation.scale, activation.shift)
    value = graph.add("Add", "bias_in", value, graph.per_channel("bias_in.shift", activation.bias_in, np.float32))
    value = graph.add("PRelu", "prelu", value, graph.per_channel("prelu.slope", activation.slope, np.float32))
    return graph.add("Add", "bias_out", value, graph.per_channel("bias_out.shift", activation.bias_out, np.float32))


def _scale_and_shift(graph: Graph, part: str, value: Value, scale: NDArray[Any], shift: NDArray[Any]) -> Value:
    scaled = graph.add("Mul", f"{part}.scaled", value, graph.per_channel(f"{part}.scale", scale, np.float32))
    return graph.add("Add", part, scaled, graph.per_channel(f"{part}.shift", shift, np.float32))


def _finish_integers(graph: Graph, end: Finish, integers: IntegerFinish, value: Value, buffers: Buffers) -> None:
    """Integers are float64: ONNX shifts unsigned ones only. Below 2^53 products with 2^n, rounded down, are exact."""
    if integers.one:
        value = _to_integers(graph, integers, value)
    if integers.shifts is not None:
        value = _shift_add(graph, integers, value)
    if end.residual >= 0:
        value = graph.add("Add", "shortcut", value, buffers.values[end.residual])
    if integers.bias_in is not None:
        value = _integer_activation(graph, integers, value)
    if end.floats:
        buffers.values[end.out] = value
    if integers.thresholds is not None:
        buffers.codes[end.out] = _codes(graph, value, integers.thresholds.astype(np.float64)[None, :, None, None])


def _to_integers(graph: Graph, integers: IntegerFinish, value: Value) -> Value:
    assert integers.bound is not None
    wide = graph.cast("integers.wide", value, np.float64)
    scaled = graph.add("Mul", "integers.scaled", wide, graph.number(integers.one, np.float64))
    rounded = graph.add("Round", "integers.rounded", scaled)
    above = graph.add(
        "Max", "integers.not_below", rounded, graph.per_channel("integers.lowest", -integers.bound, np.float64)
    )
    return graph.add("Min", "integers", above, graph.per_channel("integers.highest", integers.bound, np.float64))


def _shift_add(graph: Graph, integers: IntegerFinish, value: Value) -> Value:
    assert integers.shifts is not None and integers.signs is not None
    digits = graph.add("Unsqueeze", "scale.digits", value, graph.integers(1))
    shifted = _shifted(graph, "scale.shifted", digits, integers.lift - integers.shifts)
    signs = graph.per_channel("scale.signs", integers.signs, np.float64)
    signed = graph.add("Mul", "scale.signed", shifted, signs)
    return graph.add("ReduceSum", "scale", signed, graph.integers(1), keepdims=0)


def _shifted(graph: Graph, part: str, value: Value, left: NDArray[Any]) -> Value:
    """Shift per channel by `left` bits, where negative ones drop bits, rounding down."""
    powers = graph.per_channel(f"{part}.powers", np.exp2(left.astype(np.float64)), np.float64)
    return graph.add("Floor", part, graph.add("Mul", f"{part}.scaled", value, powers))


def _integer_activation(graph: Graph, integers: IntegerFinish, value: Value) -> Value:
    right, left = integers.right, integers.left
    assert integers.bias_in is not None and integers.bias_out is not None and right is not None and left is not None
    wide: DTypeLike = np.float64
    value = graph.add("Add", "bias_in", value, graph.per_channel("bias_in.shift", integers.bias_in, wide))
    dropped = _shifted(graph, "slope.dropped", value, -right)
    sloped = graph.add("Mul", "slope.lifted", dropped, graph.per_channel("slope.powers", np.exp2(left), wide))
    negative = graph.add("Less", "slope.negative", value, graph.number(0, wide))
    value = graph.add("Where", "slope", negative, sloped, value)
    return graph.add("Add", "bias_out", value, graph.per_channel("bias_out.shift", integers.bias_out, wide))
