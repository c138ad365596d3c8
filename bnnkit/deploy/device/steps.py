"""The steps of a described network with their parameters on a device; all but layers on arrays."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from bnnkit.deploy.description import (
    ArrayStep,
    DenseStep,
    ImageStep,
    MeanStep,
    SignedSumStep,
    Step,
    ThermometerStep,
    WindowStep,
)
from bnnkit.deploy.device.arrays import Arrays
from bnnkit.deploy.device.buffers import Batch, Buffer, Buffers, Quantized, values_of
from bnnkit.deploy.device.finish import Finishing
from bnnkit.deploy.faulty import LayerFaults

NO_FAULTS = LayerFaults()


class Prepared(Protocol):
    """A step that is ready to run."""

    def __call__(self, batch: Batch, buffers: Buffers) -> Buffer:
        """Return what the step leaves behind, of a batch and what is there already."""
        ...


def prepare(step: Step, device: torch.device, faults: LayerFaults = NO_FAULTS) -> Prepared:
    """Return a described step with its parameters on the device.

    Raises:
        UsageError: faults that the step cannot have here.
    """
    if isinstance(step, ArrayStep):
        return Arrays(step, device, faults)
    return _PREPARED[type(step)](step, device)  # type: ignore[no-any-return]


class _Images:
    def __init__(self, step: ImageStep, device: torch.device) -> None:
        self._shape, self._finish = step.shape, Finishing(step.finish, device)
        self._values = torch.as_tensor(step.values).to(device).flatten()
        self._rows = 256 * torch.arange(len(step.values), device=device)[:, None, None]

    def __call__(self, batch: Batch, buffers: Buffers) -> Buffer:
        values = self._values[batch.images.long() + self._rows]
        return self._finish(values.reshape(len(values), *self._shape), buffers)


class _Thermometer:
    def __init__(self, step: ThermometerStep, device: torch.device) -> None:
        counts = torch.tensor(step.set_bits)[:, None] > torch.arange(step.planes)
        self._bits = counts.float().to(device)  # [256, planes]

    def __call__(self, batch: Batch, buffers: Buffers) -> Buffer:
        bits = self._bits[batch.images.long()].permute(0, 1, 4, 2, 3)  # [N, channels, planes, height, width]
        return Buffer(None, Quantized(bits.flatten(1, 2), [0.5], True, 1, False))


class _Window:
    def __init__(self, step: WindowStep, device: torch.device) -> None:
        self._step, self._finish = step, Finishing(step.finish, device)
        self._thresholds = torch.tensor(step.level_thresholds, dtype=torch.float32, device=device)
        self._levels = torch.tensor(step.level_values, dtype=torch.float32, device=device)

    def __call__(self, batch: Batch, buffers: Buffers) -> Buffer:
        step = self._step
        values = values_of(step.in_buffer, buffers)
        if len(self._levels):
            values = self._levels[torch.bucketize(values, self._thresholds, right=True)]
        return self._finish(torch.cat([self._seen(values)] * step.repeats, 1), buffers)

    def _seen(self, values: Tensor) -> Tensor:
        """Return the maximum or the mean over the window, which integers round down."""
        step = self._step
        if step.size == 1:
            return values[:, :, :: step.stride, :: step.stride]
        if step.pad:
            lowest = torch.iinfo(values.dtype).min if step.integers else -torch.inf
            values = torch.nn.functional.pad(values, (step.pad,) * 4, value=lowest)
        height, width = ((size - step.size) // step.stride * step.stride + 1 for size in values.shape[2:])
        corners = [(y, x) for y in range(step.size) for x in range(step.size)]
        seen = [values[:, :, y : y + height : step.stride, x : x + width : step.stride] for y, x in corners]
        if step.maximum:
            found = seen[0]
            for other in seen[1:]:
                found = torch.maximum(found, other)
            return found
        if step.integers:
            return (seen[0] + seen[1] + seen[2] + seen[3]) >> 2
        a, b, c, d = (value.double() for value in seen)
        return ((a + b + c + d) / 4).float()


class _SignedSum:
    def __init__(self, step: SignedSumStep, device: torch.device) -> None:
        self._step, self._finish = step, Finishing(step.finish, device)
        self._signs = torch.as_tensor(step.signs).double().to(device)

    def __call__(self, batch: Batch, buffers: Buffers) -> Buffer:
        values = values_of(self._step.in_buffer, buffers) >> self._step.drop
        sums = self._signs @ values.flatten(2).double()  # exact; GPUs multiply no matrices of 32-bit integers
        return self._finish(sums.int().unflatten(2, values.shape[2:]), buffers)


class _Dense:
    def __init__(self, step: DenseStep, device: torch.device) -> None:
        self._step, self._finish = step, Finishing(step.finish, device)
        self._weights = torch.as_tensor(step.weights).contiguous().to(device)
        self._bias = None if step.bias is None else torch.as_tensor(step.bias).contiguous().to(device)

    def __call__(self, batch: Batch, buffers: Buffers) -> Buffer:
        step = self._step
        values = values_of(step.in_buffer, buffers).contiguous()
        summed = torch.ops.bnnkit.dense_conv2d(values, self._weights, self._bias, list(step.stride), list(step.padding))
        return self._finish(summed, buffers)


class _Mean:
    def __init__(self, step: MeanStep, device: torch.device) -> None:
        self._step, self._finish = step, Finishing(step.finish, device)

    def __call__(self, batch: Batch, buffers: Buffers) -> Buffer:
        values = values_of(self._step.in_buffer, buffers)
        pixels = values.flatten(2)
        total = torch.zeros(pixels.shape[:2], dtype=torch.float64, device=pixels.device)
        for pixel in pixels.unbind(2):  # one after the other: the order is part of the result
            total += pixel
        mean = (total / (pixels.shape[2] * (self._step.one or 1.0))).float()
        return self._finish(mean[:, :, None, None], buffers)


_PREPARED = {
    ImageStep: _Images,
    ThermometerStep: _Thermometer,
    WindowStep: _Window,
    SignedSumStep: _SignedSum,
    DenseStep: _Dense,
    MeanStep: _Mean,
}
