"""res18 and res20: CIFAR residual networks with BN before Hardtanh, after BNN-IGA."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from bnnkit.models.base import MODELS, Model, ModelEntry, Settings, initialise_by_outputs
from bnnkit.nn import CimConv2d
from bnnkit.nn.evaluation import MeanPool


class Shortcut(nn.Module):
    """1x1 convolution in full precision and BN, where a block changes the shape."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x))
        return y


class Block(nn.Module):
    """conv - BN - Hardtanh - conv - (+ shortcut) - [BN - Hardtanh, absent in the last block]."""

    def __init__(self, settings: Settings, in_channels: int, out_channels: int, stride: int, last: bool) -> None:
        super().__init__()
        self.conv1 = settings.conv(in_channels, out_channels, stride)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = settings.conv(out_channels, out_channels)
        changes = stride != 1 or in_channels != out_channels
        self.shortcut = Shortcut(in_channels, out_channels, stride) if changes else nn.Identity()
        self.norm2 = None if last else nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv1(x)
        y = self.conv2(nn.functional.hardtanh(self.norm1(y))) + self.shortcut(x)
        return y if self.norm2 is None else nn.functional.hardtanh(self.norm2(y))


class ResNet(Model):
    """stem conv 3x3 - BN - Hardtanh; three stages; average pool - BN - Hardtanh - linear - BN.

    Channels 16, 32, 64 times width; stride 2 entering stages 2 and 3. Stem, 1x1 shortcuts and the linear layer are
    in full precision. The average pool takes whatever pixels remain (8x8 for 32x32 images).
    """

    def __init__(self, blocks: tuple[int, int, int], settings: Settings) -> None:
        super().__init__(settings)
        channels = [16 * settings.width, 32 * settings.width, 64 * settings.width]
        self.stem = nn.Conv2d(settings.in_shape[0], channels[0], 3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(channels[0])
        self.stages = nn.ModuleList()
        in_channels = channels[0]
        for stage, (count, out_channels) in enumerate(zip(blocks, channels, strict=True)):
            chain = []
            for i in range(count):
                stride = 2 if i == 0 and stage > 0 else 1
                last = stage == 2 and i == count - 1
                chain.append(Block(settings, in_channels, out_channels, stride, last))
                in_channels = out_channels
            self.stages.append(nn.Sequential(*chain))
        self.pool = MeanPool()
        self.pool_norm = nn.BatchNorm1d(in_channels)
        self.classifier = nn.Linear(in_channels, settings.classes)
        self.logit_norm = nn.BatchNorm1d(settings.classes)
        # Latent weights then start well inside [-1, 1].
        initialise_by_outputs(self, CimConv2d)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.hardtanh(self.stem_norm(self.stem(x)))
        for stage in self.stages:
            x = stage(x)
        x = nn.functional.hardtanh(self.pool_norm(self.pool(x)))
        logits: Tensor = self.logit_norm(self.classifier(x))
        return logits


for _name, _blocks in {"res18": (3, 3, 2), "res20": (3, 3, 3)}.items():
    MODELS.register(_name)(
        ModelEntry(
            build=partial(ResNet, _blocks),
            description=f"residual network of {'/'.join(map(str, _blocks))} blocks, 16/32/64*width channels, width 5",
            dataset="cifar10",
            in_shape=(3, 32, 32),
            width=5,
        )
    )
