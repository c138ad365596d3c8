"""reactnet18, reactnet34, reactnetA: normalizer-free binary networks of additions and bit operations, after A&B BNN."""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise

from torch import Tensor, nn

from bnnkit.models.base import ADD_AND_BIT, MODELS, Model, ModelEntry, Settings, check_halvings
from bnnkit.models.integer_network import IntegerNetwork
from bnnkit.models.sign_block import ALPHA, SignBlock
from bnnkit.nn.evaluation import MeanPool
from bnnkit.nn.scaled import ScaledConv2d

LARGE = 128
"""Images of so many pixels a side and more are reduced by the stem at once, as for ImageNet."""


class ReactNet(Model):
    """stem (standardized convolution in full precision) - blocks of signs - average pool - linear.

    Evaluation with binary weights computes what a chip would: integers, additions, shifts and comparisons between the
    stem and the average pool; see `bnnkit.models.integer_network`. Training and full-precision weights compute in
    float32.
    """

    def __init__(
        self, settings: Settings, stem: ScaledConv2d, stages: list[list[SignBlock]], stem_pool: nn.Module | None = None
    ) -> None:
        super().__init__(settings)
        self.stem = stem
        self.stem_pool = nn.Identity() if stem_pool is None else stem_pool
        self.stages = nn.ModuleList(nn.Sequential(*blocks) for blocks in stages)
        self.pool = MeanPool()
        self.classifier = nn.Linear(stages[-1][-1].conv.out_channels, settings.classes)

    @property
    def blocks(self) -> list[SignBlock]:
        """All blocks, in order."""
        return [module for module in self.modules() if isinstance(module, SignBlock)]

    def forward(self, x: Tensor) -> Tensor:
        if not self.training and self.settings.w_bit == 1 and self.settings.ao_bit == 1:
            features = IntegerNetwork.of(self)(x)
        else:
            x = self.stem_pool(self.stem(x))
            for stage in self.stages:
                x = stage(x)
            features = self.pool(x)
        logits: Tensor = self.classifier(features)
        return logits


def is_large(settings: Settings) -> bool:
    """Return whether the images are as large as ImageNet's."""
    return min(settings.in_shape[1:]) >= LARGE


class ResidualReactNet(ReactNet):
    """reactnet18 and reactnet34: 3x3 blocks in four stages of 16, 32, 64, 128 * width channels."""

    def __init__(self, counts: tuple[int, int, int, int], settings: Settings) -> None:
        check_halvings(settings, 5 if is_large(settings) else 3)
        widths = [16 * settings.width * 2**stage for stage in range(4)]
        stages: list[list[SignBlock]] = []
        variance, channels = 1.0, widths[0]
        for stage, (count, width) in enumerate(zip(counts, widths, strict=True)):
            # The first block of a stage still divides by the variance the previous stage left, as the origin does.
            first = SignBlock(
                settings,
                channels,
                width,
                beta=1 / math.sqrt(variance),
                stride=2 if stage else 1,
                shortcut="pool-conv" if stage else "identity",
            )
            variance = 1.0 if stage else variance
            chain = [first]
            for _ in range(1, count):
                chain.append(SignBlock(settings, width, width, beta=1 / math.sqrt(variance)))
                variance += ALPHA**2
            stages.append(chain)
            channels = width
        if is_large(settings):
            stem = ScaledConv2d(settings.in_shape[0], widths[0], 7, 2, 3)
            super().__init__(settings, stem, stages, nn.MaxPool2d(3, 2, 1))
        else:
            super().__init__(settings, ScaledConv2d(settings.in_shape[0], widths[0], 3, 1, 1), stages)


A_CHANNELS = (4, 8, 16, 16, 32, 32, 64, 64, 64, 64, 64, 64, 128, 128)
"""Channels of reactnetA's stem and of its 13 pairs of blocks, for width 1 in units of 2."""


class PointwiseReactNet(ReactNet):
    """reactnetA: pairs of a 3x3 and a 1x1 block after MobileNet, 8 to 256 * width channels."""

    def __init__(self, settings: Settings) -> None:
        check_halvings(settings, 5 if is_large(settings) else 4)
        widths = [2 * settings.width * units for units in A_CHANNELS]
        stages: list[list[SignBlock]] = []
        variance = 1.0
        for index, (channels, width) in enumerate(pairwise(widths)):
            halves = width != channels and index > 0
            beta1, beta2 = 1 / math.sqrt(variance), 1 / math.sqrt(variance + ALPHA**2)
            pair = [
                SignBlock(
                    settings,
                    channels,
                    channels,
                    beta=beta1,
                    stride=2 if halves else 1,
                    shortcut="pool" if halves else "identity",
                ),
                SignBlock(
                    settings,
                    channels,
                    width,
                    beta=beta2,
                    kernel=1,
                    shortcut="identity" if width == channels else "duplicate",
                ),
            ]
            variance = 1.0 if halves else variance + 2 * ALPHA**2
            stages.append(pair)
        stem = ScaledConv2d(settings.in_shape[0], widths[0], 3, 2 if is_large(settings) else 1, 1)
        super().__init__(settings, stem, stages)


_COUNTS = {"reactnet18": (4, 4, 4, 4), "reactnet34": (6, 8, 12, 6)}
for _name, _counts in _COUNTS.items():
    MODELS.register(_name)(
        ModelEntry(
            build=partial(ResidualReactNet, _counts),
            description=f"A&B BNN: {'/'.join(map(str, _counts))} blocks, 16 to 128*width channels, width 4",
            dataset="cifar10",
            in_shape=(3, 32, 32),
            width=4,
            family=ADD_AND_BIT,
        )
    )
MODELS.register("reactnetA")(
    ModelEntry(
        build=PointwiseReactNet,
        description="A&B BNN: 13 pairs of 3x3 and 1x1 blocks, 8 to 256*width channels, width 4",
        dataset="cifar10",
        in_shape=(3, 32, 32),
        width=4,
        family=ADD_AND_BIT,
    )
)
