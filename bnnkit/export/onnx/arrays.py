"""Layers on arrays as ONNX nodes: one group of a convolution per array, converters, and their sum."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnnkit.deploy.description import ArrayStep
from bnnkit.deploy.geometry import conv_shape
from bnnkit.export import wiring
from bnnkit.export.onnx.finish import staircase
from bnnkit.export.onnx.graph import Graph, Value
from bnnkit.export.onnx.patches import patches


def array_values(graph: Graph, step: ArrayStep, codes: Value) -> Value:
    """Add a layer on arrays and return its values; the sums themselves where only they matter.

    Args:
        codes: integers 2 * code - (levels - 1), float32 [N, *step.in_shape].
    """
    arrays = _Arrays(graph, step)
    if step.gate is None:
        sums = arrays.sums("", codes)
    else:
        sums = _gated(graph, step.gate, arrays, codes)
    if step.finish.integers is not None:
        return graph.cast("wide", sums, np.float64)
    return sums if step.finish.sum_thresholds is not None else _values_of(graph, step, arrays.count, sums)


class _Arrays:
    """The arrays of a layer, which both planes of fractional activations pass through."""

    def __init__(self, graph: Graph, step: ArrayStep) -> None:
        self._graph, self._step = graph, step
        w = step.weights
        layout = w.layout
        self._chunks, self.count = layout.chunks, layout.arrays
        self._kernel = (1, 1) if w.tap else w.kernel
        weight = graph.constant("weight", self._weight())
        self._weight_value = graph.cast("weight.float", weight, np.float32)

    def _weight(self) -> NDArray[np.int8]:
        """Return integers [arrays * outputs, channels_per_array, *kernel]; 0 where an array has fewer channels."""
        w = self._step.weights
        whole = wiring.integers(wiring.cells(w), w.w_thermometer)
        outputs, channels, height, width = whole.shape
        room = np.zeros((outputs, self._chunks * w.channels_per_array, height, width), np.int8)
        room[:, :channels] = whole
        cut = room.reshape(outputs, self._chunks, w.channels_per_array, height, width)
        order = (3, 4, 1, 0, 2) if w.tap else (1, 0, 2, 3, 4)
        arrays: NDArray[np.int8] = cut.transpose(order).reshape(-1, w.channels_per_array, *self._kernel)
        return arrays

    def sums(self, prefix: str, codes: Value) -> Value:
        """Add the converted and added partial sums of codes [N, *in_shape]: float32 [N, outputs, h, w]."""
        graph, w = self._graph, self._step.weights
        channels, height, width = w.in_shape
        if w.flatten:
            codes = graph.reshape(f"{prefix}flat", codes, w.in_shape)
        filled = self._chunks * w.channels_per_array
        if filled > channels:  # the last array has fewer channels than the others
            pads = graph.integers(0, 0, 0, 0, 0, filled - channels, 0, 0)
            codes = graph.add("Pad", f"{prefix}whole_arrays", codes, pads, graph.number(0))
        stride, padding = w.stride, w.padding
        if w.tap:
            shape = filled, height, width
            codes = patches(graph, codes, shape, w.kernel, stride, padding, np.float32, prefix=prefix)
            stride, padding = (1, 1), (0, 0)
        partial = graph.add(
            "Conv",
            f"{prefix}conv",
            codes,
            self._weight_value,
            group=self.count,
            kernel_shape=list(self._kernel),
            strides=list(stride),
            pads=[*padding, *padding],
        )
        # Integers already, wherever they are added exactly. Without a node in between, runtimes fold the normalization
        # that may follow into the weights, and sums of such weights round.
        partial = graph.add("Round", f"{prefix}partial_sums", partial)
        if self.count > 1:
            shape = conv_shape(w.in_shape, w.outputs, w.kernel, w.stride, w.padding, False)
            partial = graph.reshape(f"{prefix}by_array", partial, (self.count, *shape))
        converted = self._converted(prefix, partial)
        if self.count == 1:
            return converted
        return graph.add("ReduceSum", f"{prefix}sums", converted, graph.integers(1), keepdims=0)

    def _converted(self, prefix: str, partial: Value) -> Value:
        """Add the converters: a comparison, or a table of the levels of all possible sums."""
        graph, thresholds, levels = self._graph, self._step.thresholds, self._step.levels
        if thresholds is None or levels is None:
            return partial
        if len(thresholds) == 1:
            return staircase(graph, f"{prefix}converter", partial, thresholds.astype(np.float32), levels.tolist())
        reach = self._reach()
        level_of = levels[np.searchsorted(thresholds, np.arange(-reach, reach + 1), side="right")]
        from_lowest = graph.add("Add", f"{prefix}converter.index", partial, graph.number(reach))
        index = graph.cast(f"{prefix}converter.integer", from_lowest, np.int32)
        return graph.add("Gather", f"{prefix}converter", graph.table("converter", level_of.astype(np.float32)), index)

    def _reach(self) -> int:
        """Return the largest magnitude of a partial sum."""
        w = self._step.weights
        x_planes = 1 if self._step.gate is not None else w.x_planes  # planes of gated layers are converted one by one
        largest = _largest(x_planes, w.x_thermometer) * _largest(w.planes, w.w_thermometer)
        return largest * w.channels_per_array * math.prod(self._kernel)


def _largest(planes: int, thermometer: bool) -> int:
    return planes if thermometer else 2**planes - 1


def _gated(graph: Graph, gate: NDArray[np.int32], arrays: _Arrays, codes: Value) -> Value:
    """Add 2 * high + (high >= gate ? low : 0), sums of the high and low bits of codes 2 * high + low."""
    high_bits = graph.add("Sign", "high.bits", codes)
    high = arrays.sums("high.", high_bits)
    twice = graph.add("Mul", "high.bits_twice", high_bits, graph.number(2))
    low = arrays.sums("low.", graph.add("Sub", "low.bits", codes, twice))
    is_open = graph.add("GreaterOrEqual", "gate.open", high, graph.per_channel("gate.thresholds", gate, np.float32))
    let_through = graph.add("Where", "gate", is_open, low, graph.number(0))
    return graph.add("Add", "gated_sums", graph.add("Mul", "high.twice", high, graph.number(2)), let_through)


def _values_of(graph: Graph, step: ArrayStep, arrays: int, sums: Value) -> Value:
    """Add scale * sums + offset * arrays + bias, rounded once."""
    offset, bias = step.offset * arrays, step.bias
    scale_is_float = float(np.float32(step.scale)) == step.scale
    scaling_is_exact = math.frexp(step.scale)[0] == 0.5  # a power of two
    # Where at most one operation rounds, float32 gives what float64 rounded once does.
    in_float = offset == 0 and scale_is_float and (bias is None or scaling_is_exact)
    dtype: type[np.floating[Any]] = np.float32 if in_float else np.float64
    value = sums if in_float else graph.cast("wide", sums, dtype)
    if step.scale != 1:
        value = graph.add("Mul", "scaled", value, graph.number(step.scale, dtype))
    if offset != 0:
        value = graph.add("Add", "with_offset", value, graph.number(offset, dtype))
    if bias is not None:
        value = graph.add("Add", "with_bias", value, graph.per_channel("bias", bias, dtype))
    return value if in_float else graph.cast("rounded", value, np.float32)
