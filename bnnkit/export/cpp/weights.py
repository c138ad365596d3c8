"""Weight bits in the order in which the exported program reads them; see runtime/array_layer.h and dense_layer.h."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bnnkit.deploy.description import ArrayWeights, DenseStep, SignedSumStep
from bnnkit.export import wiring

LANES = 16
"""Outputs that are computed together, kLanes in runtime/shape.h."""

Words = NDArray[np.uint64]


def ceil_div(a: int, b: int) -> int:
    """Return a / b, rounded up."""
    return -(-a // b)


def array_words(w: ArrayWeights) -> Words:
    """Return uint64 [groups, planes, arrays, words, LANES]: the weights of `LANES` outputs side by side, the rest 0.

    >>> sizes = dict(planes=1, outputs=3, in_shape=(20, 5, 5), kernel=(3, 3), stride=(1, 1), padding=(1, 1))
    >>> flags = dict(tap=False, x_planes=1, x_thermometer=False, w_thermometer=False, flatten=False)
    >>> bits = np.full(3 * 20 * 9 // 8 + 1, 255, np.uint8)
    >>> words = array_words(ArrayWeights(bits=bits, channels_per_array=14, **sizes, **flags))
    >>> words.shape, [f"{word:x}" for word in words[0, 0, 1, :, 0]]      # the second array has 6 channels
    ((1, 1, 2, 2, 16), ['3f00fc03f00fc03f', '3f00fc03f00fc0'])
    """
    channels, taps = w.in_shape[0], w.kernel[0] * w.kernel[1]
    places = _places(w, channels, taps)
    _, arrays, words = sizes(w)
    rows = np.zeros((w.planes, ceil_div(w.outputs, LANES) * LANES, arrays * words * 64), np.uint8)
    rows[:, : w.outputs, places] = wiring.cells(w).reshape(w.planes, w.outputs, channels * taps)
    packed = np.packbits(rows, axis=-1, bitorder="little").view("<u8").astype(np.uint64)
    grouped = packed.reshape(w.planes, -1, LANES, arrays, words)
    return np.ascontiguousarray(grouped.transpose(1, 0, 3, 4, 2))


def sizes(w: ArrayWeights) -> tuple[int, int, int]:
    """Return chunks of channels, arrays, and words of an array."""
    channels, taps = w.in_shape[0], w.kernel[0] * w.kernel[1]
    per_array = chunk_channels(w)
    chunks = ceil_div(channels, per_array)
    return chunks, chunks * (taps if w.tap else 1), ceil_div(per_array * (1 if w.tap else taps), 64)


def chunk_channels(w: ArrayWeights) -> int:
    """Return the channels of a chunk: an array may have room for more than there are."""
    return min(w.channels_per_array, w.in_shape[0])


def _places(w: ArrayWeights, channels: int, taps: int) -> NDArray[np.int64]:
    """Return the bit that each weight of an output has in its row, in the weight's order."""
    per_array, (chunks, _, words) = chunk_channels(w), sizes(w)
    channel, tap = (grid.reshape(-1) for grid in np.meshgrid(np.arange(channels), np.arange(taps), indexing="ij"))
    chunk, within = channel // per_array, channel % per_array
    array = tap * chunks + chunk if w.tap else chunk
    places: NDArray[np.int64] = array * words * 64 + within + (0 if w.tap else tap * per_array)
    return places


def dense_weights(step: DenseStep) -> NDArray[np.float32]:
    """Return float32 [groups, taps, channels, LANES], 0 where there is no output."""
    outputs, channels = step.weights.shape[:2]
    padded = np.zeros((ceil_div(outputs, LANES) * LANES, channels, step.weights[0, 0].size), np.float32)
    padded[:outputs] = step.weights.reshape(outputs, channels, -1)
    return np.ascontiguousarray(padded.reshape(-1, LANES, *padded.shape[1:]).transpose(0, 3, 2, 1))


def sign_words(step: SignedSumStep) -> Words:
    """Return uint64 [channels, words of the outputs]: bit 1 where the sign is +1."""
    outputs, channels = step.signs.shape
    wide = np.zeros((channels, ceil_div(outputs, 64) * 64), np.uint8)
    wide[:, :outputs] = step.signs.T > 0
    return np.packbits(wide, axis=-1, bitorder="little").view("<u8").astype(np.uint64)
