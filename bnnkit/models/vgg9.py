"""vgg9: six convolutions and three linear layers, after BinaryNet and BNN-IGA."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from bnnkit.models.base import MODELS, Model, ModelEntry, Settings

FINAL_CHANNELS = 512
HIDDEN = 1024


class ConvStage(nn.Module):
    """conv - [pool] - BN - Hardtanh."""

    def __init__(self, conv: nn.Module, channels: int, pool: bool) -> None:
        super().__init__()
        self.conv = conv
        self.pool = nn.MaxPool2d(2) if pool else nn.Identity()
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.hardtanh(self.norm(self.pool(self.conv(x))))


class LinearStage(nn.Module):
    """linear - BN - Hardtanh."""

    def __init__(self, linear: nn.Module, features: int) -> None:
        super().__init__()
        self.linear = linear
        self.norm = nn.BatchNorm1d(features)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.hardtanh(self.norm(self.linear(x)))


class Vgg9(Model):
    """First convolution and last linear layer in full precision, the others on arrays.

    Channels w, w, pool, 2w, 2w, pool, 4w, 512, pool with w = 128*width; linear 1024 - 1024 - classes, then BN.
    A pooling that would leave no pixel is left out, so small images work.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        unit = 128 * settings.width
        channels = [unit, unit, 2 * unit, 2 * unit, 4 * unit, FINAL_CHANNELS]
        colours, height, width = settings.in_shape
        convs: list[nn.Module] = [nn.Conv2d(colours, unit, 3, padding=1)]
        convs += [settings.conv(a, b) for a, b in pairwise(channels)]
        stages = []
        for i, (conv, out) in enumerate(zip(convs, channels, strict=True)):
            pool = i % 2 == 1 and min(height, width) >= 2
            height, width = (height // 2, width // 2) if pool else (height, width)
            stages.append(ConvStage(conv, out, pool))
        self.features = nn.Sequential(*stages)
        self.hidden = nn.Sequential(
            LinearStage(settings.linear(FINAL_CHANNELS * height * width, HIDDEN), HIDDEN),
            LinearStage(settings.linear(HIDDEN, HIDDEN), HIDDEN),
        )
        self.classifier = nn.Linear(HIDDEN, settings.classes)
        self.norm = nn.BatchNorm1d(settings.classes, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.norm(self.classifier(self.hidden(self.features(x).flatten(1))))
        return logits


MODELS.register("vgg9")(
    ModelEntry(
        build=Vgg9,
        description="six 3x3 convolutions from 128*width channels and three linear layers, width 3",
        dataset="cifar10",
        in_shape=(3, 32, 32),
        width=3,
    )
)
