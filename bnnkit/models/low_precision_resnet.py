"""resnet20 and resnet18: residual networks of low precision, after TorchInference_RRAM."""

from __future__ import annotations

from torch import Tensor, nn

from bnnkit.models.base import BIT_SERIAL, MODELS, Model, ModelEntry, Settings, initialise_by_outputs
from bnnkit.nn.evaluation import MeanPool


class Block(nn.Module):
    """conv - BN - ReLU - conv - BN - (+ shortcut) - ReLU; the shortcut is a 1x1 convolution and BN where needed."""

    def __init__(
        self, settings: Settings, in_channels: int, out_channels: int, stride: int, quantized_shortcut: bool
    ) -> None:
        super().__init__()
        self.conv1 = settings.bit_serial_conv(in_channels, out_channels, stride)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = settings.bit_serial_conv(out_channels, out_channels)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            conv = settings.bit_serial_conv(in_channels, out_channels, stride, 1, quantized_shortcut)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.relu(self.norm1(self.conv1(x)))
        return nn.functional.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class LowPrecisionResNet(Model):
    """Stem conv 3x3 - BN - ReLU, stages of residual blocks, average pool, linear.

    Args:
        channels: of each stage; the first is the stem's too. The second and later stages begin with stride 2.
        blocks: per stage.
        quantized_ends: whether stem weights, shortcut inputs and the last layer are of low precision too.
    """

    def __init__(
        self, channels: tuple[int, ...], blocks: tuple[int, ...], quantized_ends: bool, settings: Settings
    ) -> None:
        super().__init__(settings)
        colours = settings.in_shape[0]
        self.stem = (
            settings.bit_serial_conv(colours, channels[0], quantized_input=False)
            if quantized_ends
            else nn.Conv2d(colours, channels[0], 3, padding=1, bias=False)
        )
        self.stem_norm = nn.BatchNorm2d(channels[0])
        self.stages = nn.ModuleList()
        before = channels[0]
        for stage, (out, count) in enumerate(zip(channels, blocks, strict=True)):
            chain = []
            for i in range(count):
                stride = 2 if i == 0 and stage > 0 else 1
                chain.append(Block(settings, before, out, stride, quantized_ends))
                before = out
            self.stages.append(nn.Sequential(*chain))
        self.pool = MeanPool()
        self.classifier = (
            settings.bit_serial_linear(before, settings.classes)
            if quantized_ends
            else nn.Linear(before, settings.classes)
        )
        initialise_by_outputs(self, nn.Conv2d)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.relu(self.stem_norm(self.stem(x)))
        for stage in self.stages:
            x = stage(x)
        logits: Tensor = self.classifier(self.pool(x))
        return logits


def _resnet20(settings: Settings) -> Model:
    channels = (16 * settings.width, 32 * settings.width, 64 * settings.width)
    return LowPrecisionResNet(channels, (3, 3, 3), False, settings)


def _resnet18(settings: Settings) -> Model:
    channels = (16 * settings.width, 32 * settings.width, 64 * settings.width, 128 * settings.width)
    return LowPrecisionResNet(channels, (2, 2, 2, 2), True, settings)


MODELS.register("resnet20")(
    ModelEntry(
        build=_resnet20,
        description="residual network of 3/3/3 blocks, 16/32/64*width channels, low precision, width 1",
        dataset="cifar10",
        in_shape=(3, 32, 32),
        width=1,
        family=BIT_SERIAL,
    )
)
MODELS.register("resnet18")(
    ModelEntry(
        build=_resnet18,
        description="residual network of 2/2/2/2 blocks, 16 to 128*width channels, low precision, width 4",
        dataset="cifar10",
        in_shape=(3, 32, 32),
        width=4,
        family=BIT_SERIAL,
    )
)
