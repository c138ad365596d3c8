"""fracbnn20 and fracbnn_imagenet: binary weights, fractional activations and a binary first layer, after FracBNN."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnnkit.models.base import FRACTIONAL, MODELS, Model, ModelEntry, Settings, check_halvings
from bnnkit.nn import CimConv2d
from bnnkit.nn.activations import RPReLU
from bnnkit.nn.evaluation import MeanPool
from bnnkit.nn.gated import WEIGHT_REACH
from bnnkit.quantizers import Nearest, Sign
from bnnkit.reference import thermometer

RESOLUTION = 8
"""Grey values per plane of the input code: 32 planes for 256 values."""

PLANES = round(255 / RESOLUTION)


class Thermometer(nn.Module):
    """Encode pixels as +-1 planes: plane i of a channel is 1 where i < round(x / 8), x = 0..255.

    Shape: [N, C, H, W] float32 in 0..1 (byte / 255) -> [N, 32 * C, H, W] float32.

    Paper: FracBNN.
    """

    def forward(self, x: Tensor) -> Tensor:
        return thermometer((x * 255).round(), RESOLUTION).to(x.dtype)


class Shortcut(nn.Module):
    """What a block adds to its convolution: its input, in 4 bits if asked; pooled where it halves the pixels, repeated
    where it doubles the channels."""

    def __init__(self, stride: int, repeats: int, quantized: bool) -> None:
        super().__init__()
        self.stride = stride
        self.repeats = repeats
        self.quantizer = Nearest(4, "clip") if quantized else None

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.quantizer is None else self.quantizer(x)
        if self.stride == 2:
            # In evaluation the mean of four is rounded once.
            x = F.avg_pool2d(x, 2) if self.training else F.avg_pool2d(x.double(), 2).to(x.dtype)
        return torch.cat([x] * self.repeats, 1) if self.repeats > 1 else x


class FractionalBlock(nn.Module):
    """x -> BN(RPReLU(BN(gated conv(x))) + shortcut(x))."""

    def __init__(
        self,
        settings: Settings,
        in_channels: int,
        out_channels: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        quantized_shortcut: bool = False,
    ) -> None:
        super().__init__()
        self.conv = settings.gated_conv(in_channels, out_channels, kernel, stride)
        self.norm = nn.BatchNorm2d(out_channels)
        self.activation = RPReLU(out_channels)
        self.shortcut = Shortcut(stride, out_channels // in_channels, quantized_shortcut)
        self.shift_norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.shift_norm(self.activation(self.norm(self.conv(x))) + self.shortcut(x))
        return y


class FracBnn(Model):
    """thermometer code - binary conv 3x3 - BN - blocks - average pool - linear.

    Input are pixels in 0..1, not normalized. The average pool takes whatever pixels remain.
    """

    def __init__(
        self, settings: Settings, stem_channels: int, stride: int, stages: list[list[FractionalBlock]]
    ) -> None:
        super().__init__(settings)
        self.encoder = Thermometer()
        planes = PLANES * settings.in_shape[0]
        if settings.ao_bit == "fp":
            self.stem: nn.Conv2d = nn.Conv2d(planes, stem_channels, 3, stride, 1, bias=False)
        else:
            self.stem = _binary_conv(settings, planes, stem_channels, stride)
        self.stem_norm = nn.BatchNorm2d(stem_channels)
        self.stages = nn.ModuleList(nn.Sequential(*blocks) for blocks in stages)
        self.pool = MeanPool()
        self.classifier = nn.Linear(stages[-1][-1].conv.out_channels, settings.classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem_norm(self.stem(self.encoder(x)))
        for stage in self.stages:
            x = stage(x)
        logits: Tensor = self.classifier(self.pool(x))
        return logits


class FracBnn20(FracBnn):
    """Three stages of three pairs of blocks, 16, 32, 64 * width channels."""

    def __init__(self, settings: Settings) -> None:
        check_halvings(settings, 2)
        widths = [16 * settings.width * 2**stage for stage in range(3)]
        stages: list[list[FractionalBlock]] = []
        channels = widths[0]
        for width in widths:
            blocks = []
            for index in range(6):
                stride = 2 if width != channels and index == 0 else 1
                blocks.append(FractionalBlock(settings, channels, width, stride=stride))
                channels = width
            stages.append(blocks)
        super().__init__(settings, widths[0], 1, stages)


IMAGENET_STAGES = ((2, 1), (4, 2), (4, 1), (8, 2), (8, 1), (16, 2), *[(16, 1)] * 5, (32, 2), (32, 1))
"""Channels of the pairs of fracbnn_imagenet in units of the stem's, and their strides."""


class FracBnnImageNet(FracBnn):
    """A stem of stride 2 and 13 pairs of a 3x3 and a 1x1 block after MobileNet; shortcuts in 4 bits."""

    def __init__(self, settings: Settings) -> None:
        check_halvings(settings, 5)
        unit = 32 * settings.width
        stages: list[list[FractionalBlock]] = []
        channels = unit
        for multiple, stride in IMAGENET_STAGES:
            spatial = FractionalBlock(settings, channels, channels, stride=stride, quantized_shortcut=True)
            pointwise = FractionalBlock(settings, channels, multiple * unit, kernel=1, quantized_shortcut=True)
            stages.append([spatial, pointwise])
            channels = multiple * unit
        super().__init__(settings, unit, 2, stages)


def _binary_conv(settings: Settings, in_channels: int, out_channels: int, stride: int) -> CimConv2d:
    conv = CimConv2d(
        in_channels,
        out_channels,
        3,
        stride,
        padding=1,
        bias=False,
        ao_bit=1,
        w_bit=settings.w_bit,
        adc_bit=settings.adc_bit,
        array=settings.array,
        adc_sigma=settings.adc_sigma,
    )
    conv.clamps_latent = False
    conv.activation = Sign()
    if settings.w_bit == 1:
        conv.weight_quantizer = Sign("clip", reach=WEIGHT_REACH)
    return conv


MODELS.register("fracbnn20")(
    ModelEntry(
        build=FracBnn20,
        description="FracBNN: 3/3/3 pairs of gated blocks, 16/32/64*width channels, binary first layer, width 1",
        dataset="cifar10",
        in_shape=(3, 32, 32),
        width=1,
        family=FRACTIONAL,
        normalized=False,
    )
)
MODELS.register("fracbnn_imagenet")(
    ModelEntry(
        build=FracBnnImageNet,
        description="FracBNN: 13 pairs of gated 3x3 and 1x1 blocks, 32 to 1024*width channels, 4-bit shortcuts",
        dataset="imagenet",
        in_shape=(3, 224, 224),
        width=1,
        family=FRACTIONAL,
        normalized=False,
    )
)
