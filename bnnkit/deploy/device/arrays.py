"""A layer on arrays on a device: packed weights, the xnor or adc kernel, and what follows from its integer sums."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor

from bnnkit import counter
from bnnkit.deploy.description import ArrayStep, ArrayWeights
from bnnkit.deploy.device.buffers import Batch, Buffer, Buffers, Packed, codes_of
from bnnkit.deploy.device.finish import Finishing, per_channel
from bnnkit.deploy.faulty import BitKind, Hits, InputFaults, LayerFaults
from bnnkit.errors import UsageError
from bnnkit.nn import Gates
from bnnkit.ops import unpack_bits

EXACT = 1 << 24
"""Integers below are float32 values."""


class Arrays:
    """An `ArrayStep` with its weights packed on a device.

    Attributes:
        opens: int64, how many precision gates were open, on the device so that counting waits for nothing.
        outputs: of how many.
        hits: int64 [2], faulty bits of what it read, and those read otherwise; on the device, too.
        read: bits it read while some of them could be faulty.

    Raises:
        UsageError: sums of 2^24 and more, or faults in converters.
    """

    def __init__(self, step: ArrayStep, device: torch.device, faults: LayerFaults) -> None:
        self._step, self._finish = step, Finishing(step.finish, device)
        self._w_bits = _pack(step.weights, device)
        self._gate = None if step.gate is None else per_channel(step.gate, device).float()
        self._bias = None if step.bias is None else torch.as_tensor(step.bias).to(device)
        self._converter: tuple[Tensor, Tensor] | None = None
        if step.thresholds is not None and step.levels is not None:
            self._converter = torch.as_tensor(step.thresholds), torch.as_tensor(step.levels)
        # The kernel turns sums into the next layer's bits, and they are never stored.
        self._bit = self._finish.bit if self._gate is None and self._converter is None else None
        self._faults = faults.input
        self.opens = torch.zeros((), dtype=torch.int64, device=device)
        self.hits = torch.zeros(2, dtype=torch.int64, device=device)
        self.outputs = self.read = 0
        if faults.converter is not None:
            raise UsageError(
                f"layer {step.name}: faults in converters and partial sums are computed on a processor only",
                hint="--device cpu",
            )
        if _largest_sum(step) >= EXACT:
            raise UsageError(
                f"layer {step.name}: sums of 2^24 and more, which the kernels of a GPU do not return exactly",
                hint="--device cpu",
            )

    def __call__(self, batch: Batch, buffers: Buffers) -> Buffer:
        weights = self._step.weights
        x_bits = codes_of(self._step.in_buffer, buffers).packed(weights.in_shape, weights.channels_per_array)
        if self._faults is not None:
            x_bits = self._with_faults(x_bits, batch.numbers, self._faults)
        if self._bit is not None:
            return Buffer(None, Packed(self._bits(x_bits, *self._bit), weights.outputs))
        if self._gate is None and not self._finish.of_integers:
            return self._finish(self._scaled(x_bits), buffers)
        if self._gate is None:
            total = self._sums(x_bits)
        else:
            total = 2 * self._sums(x_bits[1:2])
            is_open = total >= 2 * self._gate
            total += is_open * self._sums(x_bits[0:1])
            self.opens += is_open.sum()
            self.outputs += is_open.numel()
        if self._finish.folds:
            return self._finish.fold(total)
        return self._finish(total.int() if self._finish.of_integers else self._scale(total), buffers)

    def take_gates(self) -> Gates:
        """Return what the precision gates did since the last call, and start anew."""
        found = Gates(int(self.opens), self.outputs)
        self.opens.zero_()
        self.outputs = 0
        return found

    def take_hits(self) -> Hits:
        """Return what faults did to the bits it read since the last call, and start anew."""
        found = Hits(self.read, *self.hits.tolist())
        self.hits.zero_()
        self.read = 0
        return found

    def _with_faults(self, x_bits: Tensor, numbers: Tensor, faults: InputFaults) -> Tensor:
        channels, height, width = self._step.weights.in_shape
        state = counter.step(torch.tensor(faults.state, device=numbers.device), numbers)
        plane, kind = -1 if faults.bit is None else faults.bit, get_args(BitKind).index(faults.kind)
        found, hits = torch.ops.bnnkit.bit_faults(
            x_bits, state, channels, self._step.weights.channels_per_array, kind, faults.below, plane
        )
        self.hits += hits
        self.read += len(numbers) * channels * height * width * (len(x_bits) if plane < 0 else 1)
        return found  # type: ignore[no-any-return]

    def _sums(self, x_bits: Tensor) -> Tensor:
        """Return the layer's integer sums, float32 [N, outputs, height, width]."""
        return self._by_adc(x_bits, 1.0, 0.0, None) if self._converter else self._by_xnor(x_bits)

    def _scaled(self, x_bits: Tensor) -> Tensor:
        if self._converter:
            return self._by_adc(x_bits, self._step.scale, self._step.offset, self._bias)
        return self._scale(self._by_xnor(x_bits))

    def _scale(self, total: Tensor) -> Tensor:
        """Return sums as values: scaled, moved and biased in double, rounded once."""
        values = total.double() * self._step.scale + self._step.offset * self._step.weights.layout.arrays
        if self._bias is not None:
            values += self._bias.double()[:, None, None]
        return values.float()

    def _by_xnor(self, x_bits: Tensor) -> Tensor:
        return torch.ops.bnnkit.xnor_conv2d(  # type: ignore[no-any-return]
            x_bits, self._w_bits, None, None, None, *self._geometry
        )

    def _bits(self, x_bits: Tensor, thresholds: Tensor, flip: Tensor) -> Tensor:
        return torch.ops.bnnkit.xnor_conv2d_bits(  # type: ignore[no-any-return]
            x_bits, self._w_bits, thresholds, flip, *self._geometry
        )

    @property
    def _geometry(self) -> tuple[int, list[int], list[int], list[int], list[int], int]:
        """Channels, kernel, stride, padding, dilation and groups, as the ops take them."""
        w = self._step.weights
        return w.in_shape[0], list(w.kernel), list(w.stride), list(w.padding), [1, 1], 1

    def _by_adc(self, x_bits: Tensor, scale: float, offset: float, bias: Tensor | None) -> Tensor:
        assert self._converter is not None
        w, no_slopes = self._step.weights, torch.empty(0)
        return torch.ops.bnnkit.adc_conv2d(  # type: ignore[no-any-return]
            x_bits, self._w_bits, None, None, bias, *self._converter, no_slopes, scale, offset, 1.0, 1.0,
            w.x_thermometer, w.w_thermometer, *self._geometry, w.channels_per_array, w.tap,
        )  # fmt: skip


def _pack(weights: ArrayWeights, device: torch.device) -> Tensor:
    """Return the weight bits in the layout of the arrays, uint8 [planes, outputs, bytes]."""
    shape = (weights.planes, weights.outputs, weights.in_shape[0], *weights.kernel)
    bits = torch.as_tensor(weights.bits).to(device)
    planes = unpack_bits(bits, torch.Size(shape).numel()).view(shape).float()
    rows = [
        torch.ops.bnnkit.pack_kernels(plane, [0.5], True, 1, False, weights.channels_per_array, weights.tap)
        for plane in planes
    ]
    return torch.cat(rows)


def _largest_sum(step: ArrayStep) -> int:
    """Return a bound on the magnitude of the layer's integer sums."""
    weights = step.weights
    if step.levels is None:
        sums = weights.in_shape[0] * weights.kernel[0] * weights.kernel[1]
    else:
        sums = weights.layout.arrays * int(abs(torch.as_tensor(step.levels).long()).max())
    return sums if step.gate is None else 3 * sums
