"""The field's formulation of a layer on a chip, as simulators of resistive memory publish it: the opponent to beat.

Per kernel tap, input bit, array and weight slice: a whole convolution of the bit plane with weights that a mask sets to
zero everywhere else, the same with the dummy column, the difference, the converter.
Source: mengjian0502/TorchInference_RRAM, after DNN+NeuroSim; with static ranges, and no channels left out.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bnnkit.nn import BitSerialConv2d


class MaskedConv2d:
    """The layer that `layer` computes on its chip; everything about the weights is prepared before.

    Of cells on a grid all partial sums are exact in float32; what is added up after the converters is rounded.

    Args:
        layer: programmed, with SAWB weights, encoding "offset", mapping "tap" and ranges per slice.

    Shape: [N, C, H, W] float32 -> [N, O, H', W'] float32.
    """

    def __init__(self, layer: BitSerialConv2d) -> None:
        arrays, pact = layer.arrays, layer.activation
        assert arrays is not None and arrays.converters is not None and pact is not None
        assert arrays.chip.encoding == "offset" and arrays.layout.tap and not isinstance(arrays.bounds, str)
        self._pact, self._bits, self._top = pact, arrays.bits, arrays.converters.top
        self._stride, self._padding = arrays.stride, arrays.padding
        held = [arrays.layout.channels_of(s) for s in range(arrays.layout.chunks)]
        self._held = [slice(channels.start, channels.stop) for channels in held]
        # The layer's cells are differences already; what the dummy column holds cancels, whatever it is.
        _, dummy = arrays.slicing.cells(arrays.kernels)
        grid = 2.0**arrays.cells.fraction
        self._minus = dummy.float()
        self._plus = ((arrays.values * grid).round() / grid + dummy).float()
        self._counts = arrays.slicing.weights
        low, high = arrays.bounds
        self._low = low.flatten().tolist()
        self._step = ((high - low) / (arrays.converters.top + 1)).flatten().tolist()
        assert arrays.converters.gain is not None and arrays.converters.shift is not None
        self._gain = (arrays.converters.gain * grid).flatten().tolist()
        self._shift = arrays.converters.shift.flatten().tolist()
        _, unit = layer.weight_quantizer.integers(layer.weight.detach())
        self._scale = float(1 / (pact.unit.double() * unit.double()))

    @torch.inference_mode()
    def __call__(self, x: Tensor) -> Tensor:
        """Return the layer's output, one masked convolution after the other."""
        total: Tensor | float = 0.0
        for i in range(self._plus.shape[3]):
            for j in range(self._plus.shape[4]):
                codes = self._pact.code(x)
                for z in range(self._bits):
                    bit = torch.fmod(codes, 2)
                    codes = torch.round((codes - bit) / 2)
                    total = total + 2**z * self._arrays(bit, i, j)
        assert isinstance(total, Tensor)
        return (total.double() * self._scale).float()

    def _arrays(self, bit: Tensor, i: int, j: int) -> Tensor | float:
        """Return what the arrays of one kernel tap make of one input bit."""
        total: Tensor | float = 0.0
        for held in self._held:
            mask = torch.zeros_like(self._plus[0])
            mask[:, held, i, j] = 1
            for c, count in enumerate(self._counts):
                own = F.conv2d(bit, self._plus[c] * mask, None, self._stride, self._padding)
                dummy = F.conv2d(bit, self._minus[c] * mask, None, self._stride, self._padding)
                total = total + count * self._converted(own - dummy, c)
        return total

    def _converted(self, v: Tensor, c: int) -> Tensor:
        code = (v * self._gain[c] + self._shift[c]).round().clamp(0, self._top)
        value: Tensor = code * self._step[c] + self._low[c]
        return value
