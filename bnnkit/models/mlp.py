"""mlp: 784-512-512-512-10, the network of BNN-IGA's MNIST column."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn

from bnnkit.models.base import MODELS, Model, ModelEntry, Settings

HIDDEN_PER_WIDTH = 128


class Mlp(Model):
    """Three hidden layers on arrays (the pixels are quantized too), the last layer in full precision.

    linear - BN - Hardtanh, three times, then linear
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        hidden = HIDDEN_PER_WIDTH * settings.width
        sizes = [math.prod(settings.in_shape), hidden, hidden, hidden]
        self.hidden = nn.ModuleList(settings.linear(a, b) for a, b in pairwise(sizes))
        self.norms = nn.ModuleList(nn.BatchNorm1d(hidden) for _ in self.hidden)
        self.classifier = nn.Linear(hidden, settings.classes)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        for linear, norm in zip(self.hidden, self.norms, strict=True):
            x = nn.functional.hardtanh(norm(linear(x)))
        logits: Tensor = self.classifier(x)
        return logits


MODELS.register("mlp")(
    ModelEntry(
        build=Mlp,
        description="three hidden layers of 128*width units, width 4",
        dataset="mnist",
        in_shape=(1, 28, 28),
        width=4,
    )
)
