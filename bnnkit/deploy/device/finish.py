"""What happens to a step's values before the next step reads them; order and rounding are those of the description."""

from __future__ import annotations

import torch
from torch import Tensor

from bnnkit.deploy.description import Activation, Finish, IntegerFinish
from bnnkit.deploy.device.buffers import Buffer, Buffers, Quantized, values_of
from bnnkit.nn.evaluation import largest_of_four


def per_channel(values: object, device: torch.device) -> Tensor:
    """Return an array [C] or [rows, C] as a tensor on the device, ready to meet values [N, C, H, W]."""
    return torch.as_tensor(values).to(device)[..., None, None]


def _pair(first: object, second: object, device: torch.device) -> tuple[Tensor, Tensor] | None:
    return None if first is None else (per_channel(first, device), per_channel(second, device))


class Finishing:
    """A `Finish` with its parameters on a device."""

    def __init__(self, finish: Finish, device: torch.device) -> None:
        self._finish = finish
        self._activation = None if finish.activation is None else _Activation(finish.activation, device)
        self._integers = None if finish.integers is None else _Integers(finish.integers, device)
        self._norm = _pair(finish.scale, finish.shift, device)
        self._folded = _pair(finish.sum_thresholds, finish.flip, device)

    @property
    def folds(self) -> bool:
        """Whether normalization and quantization are thresholds on integer sums."""
        return self._folded is not None

    @property
    def of_integers(self) -> bool:
        """Whether what it takes are integer sums, not scaled values."""
        return self.folds or self._integers is not None

    @property
    def bit(self) -> tuple[Tensor, Tensor] | None:
        """Threshold and direction per channel, where all that is kept is one bit of an integer sum; see `Finish`."""
        if self._folded is None or len(self._folded[0]) != 1 or self._finish.planes != 1:
            return None
        thresholds, flip = self._folded
        return thresholds.flatten(), flip.flatten()

    def fold(self, total: Tensor) -> Buffer:
        """Return the codes of integer sums, given as float32 [N, C, H, W]."""
        finish = self._finish
        assert self._folded is not None
        thresholds, flip = self._folded
        directed = total * (1 + 2 * flip)
        codes = torch.zeros_like(total)
        for threshold in thresholds:
            codes += directed >= threshold
        steps = [passed - 0.5 for passed in range(1, len(thresholds) + 1)]
        return Buffer(None, Quantized(codes, steps, True, finish.planes, finish.thermometer))

    def __call__(self, values: Tensor, buffers: Buffers) -> Buffer:
        """Return what is left of float32 values, or of int32 ones in networks of integers."""
        finish = self._finish
        residual = values_of(finish.residual, buffers) if finish.residual >= 0 else None
        if self._integers is not None:
            return self._integers(values, residual, keep=finish.floats)
        if finish.pool:
            values = largest_of_four(values)
        if self._activation is not None:
            values = self._activation(values)
        if residual is not None:
            values = values + residual
        if self._norm is not None:
            values = values * self._norm[0] + self._norm[1]
        if finish.clamp:
            values = values.clamp(-1, 1)
        codes = None
        if finish.planes:
            codes = Quantized(values, finish.thresholds, finish.strict, finish.planes, finish.thermometer)
        return Buffer(values if finish.floats else None, codes)


class _Activation:
    def __init__(self, activation: Activation, device: torch.device) -> None:
        self._norm = _pair(activation.scale, activation.shift, device)
        parts = (activation.bias_in, activation.slope, activation.bias_out)
        self._bias_in, self._slope, self._bias_out = (per_channel(part, device) for part in parts)

    def __call__(self, values: Tensor) -> Tensor:
        if self._norm is not None:
            values = values * self._norm[0] + self._norm[1]
        values = values + self._bias_in
        return torch.where(values > 0, values, values * self._slope) + self._bias_out


class _Integers:
    def __init__(self, end: IntegerFinish, device: torch.device) -> None:
        self._one, self._lift = end.one, end.lift
        self._bound = None if end.bound is None else per_channel(end.bound, device).double()
        self._digits = _pair(end.shifts, end.signs, device)
        self._biases = _pair(end.bias_in, end.bias_out, device)
        self._slope = _pair(end.right, end.left, device)
        self._thresholds = None if end.thresholds is None else per_channel(end.thresholds, device)

    def __call__(self, values: Tensor, residual: Tensor | None, *, keep: bool) -> Buffer:
        if self._one != 0 and self._bound is not None:
            rounded = (values.double() * self._one).round()
            values = torch.maximum(torch.minimum(rounded, self._bound), -self._bound).int()
        if self._digits is not None:
            lifted = values << self._lift
            values = torch.zeros_like(values)
            for shift, sign in zip(*self._digits, strict=True):
                values += sign * (lifted >> shift)
        if residual is not None:
            values = values + residual
        if self._biases is not None and self._slope is not None:
            values = values + self._biases[0]
            values = torch.where(values < 0, values >> self._slope[0] << self._slope[1], values) + self._biases[1]
        codes = None
        if self._thresholds is not None:
            codes = Quantized((values >= self._thresholds).float(), [0.5], True, 1, False)
        return Buffer(values if keep else None, codes)
