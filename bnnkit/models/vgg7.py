"""vgg7: six convolutions and two linear layers of low precision, after TorchInference_RRAM."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from bnnkit.models.base import BIT_SERIAL, MODELS, Model, ModelEntry, Settings, initialise_by_outputs
from bnnkit.nn.evaluation import MaxPool

HIDDEN_PER_WIDTH = 256


class ConvStage(nn.Module):
    """conv - BN - ReLU - [pool]."""

    def __init__(self, conv: nn.Module, channels: int, pool: bool) -> None:
        super().__init__()
        self.conv = conv
        self.norm = nn.BatchNorm2d(channels)
        self.pool = MaxPool() if pool else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.pool(nn.functional.relu(self.norm(self.conv(x)), inplace=True))
        return y


class Vgg7(Model):
    """Channels w, w, pool, 2w, 2w, pool, 4w, 4w, pool with w = 32*width; linear 8w - classes.

    All weights are of low precision; the first convolution reads the image in full precision. A pooling that would
    leave no pixel is left out, so small images work.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        unit = 32 * settings.width
        colours, height, width = settings.in_shape
        channels = [colours, unit, unit, 2 * unit, 2 * unit, 4 * unit, 4 * unit]
        stages = []
        for i, (a, b) in enumerate(pairwise(channels)):
            pool = i % 2 == 1 and min(height, width) >= 2
            height, width = (height // 2, width // 2) if pool else (height, width)
            stages.append(ConvStage(settings.bit_serial_conv(a, b, quantized_input=i > 0), b, pool))
        self.features = nn.Sequential(*stages)
        hidden = HIDDEN_PER_WIDTH * settings.width
        self.hidden = settings.bit_serial_linear(4 * unit * height * width, hidden)
        self.hidden_norm = nn.BatchNorm1d(hidden)
        self.classifier = settings.bit_serial_linear(hidden, settings.classes)
        initialise_by_outputs(self, nn.Conv2d)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x).flatten(1)
        logits: Tensor = self.classifier(nn.functional.relu(self.hidden_norm(self.hidden(x))))
        return logits


MODELS.register("vgg7")(
    ModelEntry(
        build=Vgg7,
        description="six 3x3 convolutions from 32*width channels and two linear layers, low precision, width 4",
        dataset="cifar10",
        in_shape=(3, 32, 32),
        width=4,
        family=BIT_SERIAL,
    )
)
