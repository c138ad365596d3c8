"""What travels between the steps of a network on a device: values, and the codes that layers on arrays read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from bnnkit.deploy.geometry import Shape
from bnnkit.ops import unpack_bits


@dataclass(frozen=True, eq=False)
class Batch:
    """What a network is run over.

    Attributes:
        images: uint8 [N, *in_shape], as stored.
        numbers: int64 [N], the images' numbers within the data set, which faults depend on.
    """

    images: Tensor
    numbers: Tensor


class Codes(Protocol):
    """Codes of values, which become bits when a layer asks for them in the layout of its arrays."""

    def packed(self, shape: Shape, channels_per_array: int) -> Tensor:
        """Return uint8 [planes, N, height, width, bytes] of `shape`, as `bnnkit.ops.pack_pixels` lays them out."""
        ...


@dataclass(frozen=True, eq=False)
class Quantized:
    """Values and the thresholds that make codes of them.

    Attributes:
        values: float32 [N, C, H, W].
        thresholds, strict, planes, thermometer: see `bnnkit.deploy.description.Finish`.
    """

    values: Tensor
    thresholds: Sequence[float]
    strict: bool
    planes: int
    thermometer: bool

    def packed(self, shape: Shape, channels_per_array: int) -> Tensor:
        # A layer that flattens reads channel, row, column.
        x = self.values.reshape(len(self.values), *shape).contiguous()
        return torch.ops.bnnkit.pack_pixels(  # type: ignore[no-any-return]
            x, list(self.thresholds), self.strict, self.planes, self.thermometer, 1, channels_per_array
        )


@dataclass(frozen=True, eq=False)
class Packed:
    """Codes of one bit as a kernel wrote them: all channels of a pixel in one run of words.

    Attributes:
        bits: uint8 [1, N, height, width, bytes].
        channels: before padding.
    """

    bits: Tensor
    channels: int

    def packed(self, shape: Shape, channels_per_array: int) -> Tensor:
        if shape == (self.channels, *self.bits.shape[2:4]) and self._is_one_run(channels_per_array):
            return self.bits
        values = unpack_bits(self.bits[0], self.channels).permute(0, 3, 1, 2).float()
        return Quantized(values, [0.5], True, 1, False).packed(shape, channels_per_array)

    def _is_one_run(self, channels_per_array: int) -> bool:
        """Return whether chunks of so many channels, each in whole words, lie without gaps."""
        chunks, words = -(-self.channels // channels_per_array), -(-channels_per_array // 64)
        is_gapless = chunks == 1 or channels_per_array % 64 == 0
        return is_gapless and chunks * words * 8 == self.bits.shape[-1]


@dataclass(frozen=True, eq=False)
class Buffer:
    """What a step leaves behind: values float32 (int32 in networks of integers) [N, C, H, W], codes, or both."""

    values: Tensor | None
    codes: Codes | None = None


Buffers: TypeAlias = dict[int, Buffer]


def values_of(buffer: int, buffers: Buffers) -> Tensor:
    values = buffers[buffer].values
    assert values is not None, "the description reads values that nothing left behind"
    return values


def codes_of(buffer: int, buffers: Buffers) -> Codes:
    codes = buffers[buffer].codes
    assert codes is not None, "the description reads bits that nothing left behind"
    return codes
