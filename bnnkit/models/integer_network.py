"""Evaluation of A&B BNN as a chip would compute it: integers, additions, shifts and comparisons in all blocks.

A value v stands for v * 2^-f, with the same f for the whole network: the largest for which no sum can overflow, found
by propagating bounds through the blocks. Per-channel factors (alpha * gain * mean|W'|, and the converter's step where
there is one) are sums of a few powers of two. A trained network therefore changes a little when it is evaluated like
this; the packed network computes exactly the same integers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from bnnkit.errors import UsageError
from bnnkit.models.sign_block import ALPHA, SignBlock
from bnnkit.nn.fixed_point import DIGITS, IntegerActivation, ShiftAdd, fraction_bits_for
from bnnkit.nn.scaled import ScaledCimConv2d

if TYPE_CHECKING:
    from bnnkit.models.reactnet import ReactNet

PIXEL_BOUND = 4.0
"""Magnitude of normalized pixels; what the stem makes of larger ones saturates."""


OVERSHOOT = 1 + 3.0**-DIGITS
"""Sums of powers of two may exceed the factor they stand for by so much."""


@dataclass(frozen=True)
class IntegerShortcut:
    """A binary 1x1 convolution of values: scale(sum of +-(x >> drop)).

    Attributes:
        drop: bits dropped before adding, so that the sum stays below 2^29.
        scale: from sums to values.
    """

    drop: int
    scale: ShiftAdd


@dataclass(frozen=True)
class IntegerBlock:
    """A `SignBlock` on integers.

    Attributes:
        threshold: int32 [C]; a value's bit is set where value >= threshold.
        scale: from sums of the convolution to values.
        activation: adds, shifts, adds.
        shortcut: of the values, None where they are only pooled, doubled or left alone.
    """

    threshold: Tensor
    scale: ShiftAdd
    activation: IntegerActivation
    shortcut: IntegerShortcut | None


class IntegerNetwork:
    """The integers of a network and how it computes with them.

    Attributes:
        fraction_bits: bits after the point of every value.
        stem_bound: float64 [C]; magnitudes of the stem's outputs saturate here.
        blocks: by name.
    """

    def __init__(self, model: ReactNet, floats: Mapping[str, Tensor]) -> None:
        """Derive the integers from a network's structure and its parameters, named as `parameters_of` names them."""
        self.model = model
        names = [name for name, module in model.named_modules() if isinstance(module, SignBlock)]
        self.stem_bound = floats["stem.weight"].double().abs().sum((1, 2, 3)) * PIXEL_BOUND
        bound, largest = self.stem_bound, float(self.stem_bound.max())
        found = []
        for name, block in zip(names, model.blocks, strict=True):
            parts = {k: floats[f"{name}.{k}"].double() for k in _parts(block)}
            found.append((name, block, parts, bound))
            bound, most = _bounds(block, parts, bound)
            largest = max(largest, most)
        self.fraction_bits = fraction_bits_for(largest)
        self.blocks = {
            name: _integer_block(block, parts, bound, self.fraction_bits) for name, block, parts, bound in found
        }

    @classmethod
    def of(cls, model: ReactNet) -> IntegerNetwork:
        """Derive the integers of a network with its parameters."""
        return cls(model, parameters_of(model))

    def __call__(self, x: Tensor) -> Tensor:
        """Return the mean values after the last block, float32 [N, C], of normalized images [N, *in_shape]."""
        values = self._stem(x)
        for block, integers in zip(self.model.blocks, self.blocks.values(), strict=True):
            values = _run(block, integers, values)
        pixels = values.shape[2] * values.shape[3]
        mean: Tensor = values.sum((2, 3)).double() / (pixels * 2.0**self.fraction_bits)
        return mean.float()

    def stem_limits(self) -> Tensor:
        """Return the largest magnitudes of the stem's outputs as integers, float64 [C]."""
        return (self.stem_bound * 2.0**self.fraction_bits).floor()

    def _stem(self, x: Tensor) -> Tensor:
        bound = self.stem_limits().view(1, -1, 1, 1)
        values = (self.model.stem(x).double() * 2.0**self.fraction_bits).round()
        pooled: Tensor = self.model.stem_pool(torch.minimum(torch.maximum(values, -bound), bound))
        return pooled.long()


def parameters_of(model: ReactNet) -> dict[str, Tensor]:
    """Return what the integers are derived from: float32 tensors by name."""
    found = {"stem.weight": model.stem.effective_weight().detach()}
    for name, block in model.named_modules():
        if isinstance(block, SignBlock):
            own = dict(block.named_parameters())
            found |= {f"{name}.{part}": own[part].detach() for part in _parts(block) if part in own}
            for part, conv in _convolutions(block).items():
                found[f"{name}.{part}.factor"] = conv.factor().detach()
    return found


def _convolutions(block: SignBlock) -> dict[str, ScaledCimConv2d]:
    both = {"conv": block.conv, "shortcut_conv": block.shortcut_conv}
    return {name: conv for name, conv in both.items() if conv is not None}


def _parts(block: SignBlock) -> list[str]:
    activation = [f"activation.{part}" for part in ("bias_in", "log2_slope", "bias_out")]
    return ["offset", *activation, *(f"{name}.factor" for name in _convolutions(block))]


def _sum_bound(conv: ScaledCimConv2d) -> tuple[int, float]:
    """Return the largest magnitude of the sums of a convolution on arrays, and the value of one unit of them."""
    adc, layout = conv.adc, conv.layout()
    if adc is None or layout is None:
        return conv.weight[0].numel(), 1.0
    return int(adc.levels.abs().max()) * layout.arrays, adc.scale


def _bounds(block: SignBlock, parts: Mapping[str, Tensor], bound: Tensor) -> tuple[Tensor, float]:
    """Return bounds of a block's outputs, float64 [C], and of everything on the way, given those of its inputs."""
    if block.shortcut == "duplicate":
        bound = torch.cat([bound, bound])
    if block.shortcut_conv is not None:
        bound = OVERSHOOT * parts["shortcut_conv.factor"].abs() * bound.sum()
    largest, unit = _sum_bound(block.conv)
    unit *= OVERSHOOT
    before = bound + ALPHA * parts["conv.factor"].abs() * largest * unit + parts["activation.bias_in"].abs()
    slope = torch.exp2(parts["activation.log2_slope"].round()).clamp_min(1)
    after = before * slope + parts["activation.bias_out"].abs()
    # One unit in the last place for every rounding on the way is far less than this.
    after = after * (1 + 2.0**-10)
    return after, float(max(after.max(), before.max(), parts["offset"].abs().max()))


def _integer_block(block: SignBlock, parts: Mapping[str, Tensor], bound: Tensor, fraction_bits: int) -> IntegerBlock:
    largest, unit = _sum_bound(block.conv)
    one = 2.0**fraction_bits
    shortcut = None
    if block.shortcut_conv is not None:
        sums = float(bound.sum()) * one
        drop = max(0, math.frexp(sums)[1] - 29)
        shortcut = IntegerShortcut(drop, ShiftAdd.of(parts["shortcut_conv.factor"] * 2.0**drop, sums / 2.0**drop))
    threshold = (-parts["offset"] / block.beta * one).ceil().clamp(-(2**31), 2**31 - 1)
    return IntegerBlock(
        threshold.int(),
        ShiftAdd.of(ALPHA * unit * parts["conv.factor"] * one, largest),
        IntegerActivation.of(
            parts["activation.bias_in"], parts["activation.log2_slope"], parts["activation.bias_out"], fraction_bits
        ),
        shortcut,
    )


def _run(block: SignBlock, integers: IntegerBlock, values: Tensor) -> Tensor:
    bits = torch.where(values >= integers.threshold.long().view(1, -1, 1, 1), 1.0, -1.0)
    sums, _, offset = block.conv.sums(bits, block.conv.latent_weight())
    if offset != 0:
        raise UsageError(
            f"{type(block).__name__}: levels of its converter are not multiples of one step; integers need that",
            hint="use a converter with equal steps around 0",
        )
    return integers.activation(integers.scale(sums) + _shortcut(block, integers, values))


def _shortcut(block: SignBlock, integers: IntegerBlock, values: Tensor) -> Tensor:
    if block.shortcut == "duplicate":
        return torch.cat([values, values], 1)
    if block.shortcut == "identity":
        return values
    height, width = values.shape[2] // 2 * 2, values.shape[3] // 2 * 2
    rows = values[:, :, 0:height:2] + values[:, :, 1:height:2]
    pooled = (rows[..., 0:width:2] + rows[..., 1:width:2]) >> 2
    conv = block.shortcut_conv
    if conv is None or integers.shortcut is None:
        return pooled
    signs = conv.weight_quantizer(conv.latent_weight()).double()
    sums = F.conv2d((pooled >> integers.shortcut.drop).double(), signs).long()
    return integers.shortcut.scale(sums)
