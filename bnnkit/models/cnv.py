"""cnv: a binary network of six convolutions and three linear layers, after FINN's and brevitas's CNV."""

from __future__ import annotations

from itertools import pairwise
from typing import TypeVar

from torch import Tensor, nn

from bnnkit.models.base import MODELS, SIGNS, Model, ModelEntry, Settings, check_halvings
from bnnkit.nn import CimConv2d, CimLinear
from bnnkit.nn.evaluation import MaxPool
from bnnkit.quantizers import Sign

EPSILON = 1e-4
"""Of all normalizations."""


class FixedPointPixels(nn.Module):
    """Quantize 2x - 1 to Q1.7: round to multiples of 1/128 (halves to even), from -1 to 127/128.

    Shape: [N, C, H, W] float32 in 0..1, unchanged.
    """

    def forward(self, x: Tensor) -> Tensor:
        return ((2 * x - 1) * 128).round().clamp(-128, 127) / 128


class ScalarNorm(nn.BatchNorm1d):
    """Batch normalization of all outputs by one mean and one variance, with one scale and one shift.

    Shape: [N, C] float32, unchanged.
    """

    def __init__(self) -> None:
        super().__init__(1, eps=EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.reshape(-1, 1)).view(x.shape)


class ConvStage(nn.Module):
    """conv 3x3 - BN [- max pool 2x2]; the next layer takes the signs, which pooling commutes with."""

    def __init__(self, conv: CimConv2d, pool: bool) -> None:
        super().__init__()
        self.conv = conv
        self.norm = nn.BatchNorm2d(conv.out_channels, eps=EPSILON)
        self.pool: nn.Module = MaxPool() if pool else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.pool(self.norm(self.conv(x)))
        return y


class LinearStage(nn.Module):
    """linear - BN."""

    def __init__(self, linear: CimLinear) -> None:
        super().__init__()
        self.linear = linear
        self.norm = nn.BatchNorm1d(linear.out_features, eps=EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.linear(x))
        return y


class Cnv(Model):
    """Convolutions of 16, 16, 32, 32, 64, 64 * width channels, pooled after the second and the fourth; linear layers of
    256 and 128 * width; a scalar norm at the end.

    sign(0) = 1. All weights are binary; the first layer reads pixels in 8 bits (Q1.7). Input are pixels in 0..1.

    Papers: Umuroglu et al., "FINN", FPGA 2017; origin stevenokm/Tiny-Imagenet-binarized-training.
    """

    def __init__(self, settings: Settings) -> None:
        check_halvings(settings, 2)
        super().__init__(settings)
        unit, (colours, height, width) = 16 * settings.width, settings.in_shape
        channels = [colours, unit, unit, 2 * unit, 2 * unit, 4 * unit, 4 * unit]
        self.encoder = FixedPointPixels()
        stages = []
        for index in range(6):
            conv = settings.conv(channels[index], channels[index + 1], bias=False, binary_input=index > 0)
            stages.append(ConvStage(_with_signs(conv, settings), pool=index in (1, 3)))
        self.features = nn.Sequential(*stages)
        features = [4 * unit * (height // 4) * (width // 4), 16 * unit, 8 * unit]
        self.hidden = nn.Sequential(
            *(LinearStage(_with_signs(settings.linear(a, b, bias=False), settings)) for a, b in pairwise(features))
        )
        self.classifier = _with_signs(settings.linear(features[-1], settings.classes, bias=False), settings)
        self.norm = ScalarNorm()
        for layer in self.modules():
            if isinstance(layer, CimConv2d | CimLinear):
                nn.init.uniform_(layer.weight, -1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.hidden(self.features(self.encoder(x)).flatten(1))
        logits: Tensor = self.norm(self.classifier(x))
        return logits


Layer = TypeVar("Layer", CimConv2d, CimLinear)


def _with_signs(layer: Layer, settings: Settings) -> Layer:
    """Let a layer take 0 as positive, in its inputs and its weights."""
    if layer.ao_bit == 1:
        layer.activation = Sign(settings.value_gradient)
    if layer.w_bit == 1:
        layer.weight_quantizer = Sign()
    return layer


MODELS.register("cnv")(
    ModelEntry(
        build=Cnv,
        description="CNV: six 3x3 convolutions from 16*width channels and three linear layers, width 4",
        dataset="cifar10",
        in_shape=(3, 32, 32),
        width=4,
        family=SIGNS,
        normalized=False,
    )
)
