"""Convolutions of normalizer-free networks: standardized weights with a learned gain, and their binary form."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bnnkit.nn.conv import CimConv2d
from bnnkit.nn.operands import Pair
from bnnkit.nn.standardized import standardize
from bnnkit.quantizers import Bits, Sign
from bnnkit.quantizers.base import Gradient
from bnnkit.reference import with_slope


def scaled_weight(layer: ScaledConv2d | ScaledCimConv2d) -> Tensor:
    """Return gain * standardize(weight), float32 of the shape of `weight`.

    For evaluation it is computed in double and rounded once: the same numbers on every machine.
    """
    if layer.training:
        return layer.gain * standardize(layer.weight)
    return (layer.gain * standardize(layer.weight.double())).float()


class ScaledConv2d(nn.Conv2d):
    """A convolution in full precision with standardized weights: y = conv(x, gain * standardize(weight)).

    Shape: [N, in_channels, H, W] float32 -> [N, out_channels, H', W'] float32.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, bias=False)
        self.gain = nn.Parameter(torch.ones(out_channels, 1, 1, 1))
        self.is_standardized = False  # a network read from a packed file holds finished weights

    def effective_weight(self) -> Tensor:
        """Return the weights the convolution multiplies with, float32 of the shape of `weight`."""
        return self.weight if self.is_standardized else scaled_weight(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of `x`."""
        y: Tensor = self._conv_forward(x, self.effective_weight(), None)
        return y


class ScaledCimConv2d(CimConv2d):
    """A convolution on arrays whose standardized weights are reduced to signs, one factor per output channel:

        W' = standardize(weight)      y = gain * mean|W'| * sum over arrays s of ADC(conv(Q_a(x)[s], sign(W')[s]))

    The gradient with respect to W' is that of weights gain * W' inside |W'| <= 1; mean|W'| is a constant to it. With
    `w_bit` "fp" the weights are gain * W' themselves, which is how the first step of A&B BNN trains.

    Args:
        in_channels, out_channels, kernel_size, stride, padding: as `torch.nn.Conv2d`, without bias.
        ao_bit: 1 for signs of the input, "fp" for the input itself (sums of values with signs, no arrays).
        w_bit: 1 or "fp".
        value_gradient: of the activations.
        options: of `CimConv2d`.

    Attributes:
        gain: float32 [out_channels, 1, 1, 1].

    Shape: [N, in_channels, H, W] float32 -> [N, out_channels, H', W'] float32.

    Paper: A&B BNN, CVPR 2024 (origin Ruichen0424/AB-BNN, HardBinaryScaledStdConv2d).

    >>> layer = ScaledCimConv2d(16, 8, 3, padding=1, ao_bit=1, w_bit=1, adc_bit="fp")
    >>> layer(torch.zeros(1, 16, 4, 4)).shape
    torch.Size([1, 8, 4, 4])
    """

    clamps_latent = False
    perturbable = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        *,
        ao_bit: Bits,
        w_bit: Bits,
        value_gradient: Gradient = "sigmoid",
        **options: Any,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, bias=False, ao_bit=ao_bit, w_bit=w_bit, **options
        )
        if ao_bit == 1:
            self.activation = Sign(value_gradient)
        if w_bit == 1:
            self.weight_quantizer = Sign()
            nn.init.uniform_(self.weight, 0, 0.001)
        self.gain = nn.Parameter(torch.ones(out_channels, 1, 1, 1))
        self._factor: Tensor | None = None

    def effective_weight(self) -> Tensor:
        """Return the weights of a layer in full precision, gain * W': float32 of the shape of `weight`."""
        return scaled_weight(self)

    def latent_weight(self) -> Tensor:
        """Return what the weight quantizer reads: the standardized weights; signs, if they are all that is known."""
        return self.weight if self._factor is not None else standardize(self.weight.double()).float()

    def factor(self) -> Tensor:
        """Return gain * mean|W'| per output channel, float32 [out_channels], of binary weights."""
        if self._factor is not None:
            return self._factor
        mean = standardize(self.weight.double()).abs().mean((1, 2, 3), keepdim=True)
        return (self.gain * mean).flatten().float()

    def become(self, signs: Tensor, factor: Tensor) -> None:
        """Compute with given signs, of the weight's shape, and factors from now on; for evaluation only."""
        with torch.no_grad():
            self.weight.copy_(signs)
        self._factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """Return the scaled convolution of `x`."""
        if self.w_bit == "fp":
            return self.convolve(x, self.effective_weight())
        standard = standardize(self.weight)
        scale = standard.detach().abs().mean((1, 2, 3), keepdim=True)
        # The factor comes after the sums, where gradients would be multiplied by it: take it back from those of W'.
        passing = with_slope(standard, standard, (standard.detach().abs() <= 1) / scale)
        factor = self.gain * scale if self._factor is None else self._factor
        return self.convolve(x, passing) * factor.view(1, -1, 1, 1)
