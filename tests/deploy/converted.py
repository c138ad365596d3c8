"""Networks that are no models of bnnkit, converted, with parameters of both signs and fitted normalizations."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnnkit.data import normalize
from bnnkit.nn import CimConv2d, CimLinear, convert
from bnnkit.nn.evaluation import BatchNorm
from bnnkit.train.precision import repeatable

MEAN, STD = (0.45,) * 3, (0.25,) * 3


class PlainCnn(nn.Sequential):
    """conv - BN - ReLU, twice with pooling before and after the ReLU, then two linear layers."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 12, 3, padding=1),
            nn.BatchNorm2d(12),
            nn.ReLU(inplace=True),
            nn.Conv2d(12, 20, 3, padding=1, bias=False),
            nn.BatchNorm2d(20),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(20, 24, (3, 2), stride=(1, 2)),
            nn.MaxPool2d(2),
            nn.BatchNorm2d(24),
            nn.ReLU(inplace=True),
            nn.Flatten(),
            nn.Dropout(0.5),
            nn.Linear(96, 80),
            nn.BatchNorm1d(80),
            nn.ReLU(),
            nn.Linear(80, 7),
        )


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut, as torchvision writes them: one ReLU for both places."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += identity
        return self.relu(out)


class SmallResNet(nn.Module):
    """A stem, three blocks, the mean, a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU()
        self.layer1 = nn.Sequential(Block(8, 8, 1), Block(8, 16, 2))
        self.layer2 = Block(16, 16, 1)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.avgpool(self.layer2(self.layer1(x)))
        return self.fc(torch.flatten(x, 1))


class Mlp(nn.Module):
    """Written with functions, and sizes taken from the images."""

    def __init__(self) -> None:
        super().__init__()
        self.input_norm = nn.BatchNorm1d(3 * 6 * 5)
        self.hidden = nn.ModuleList([nn.Linear(90, 70), nn.Linear(70, 40)])
        self.norms = nn.ModuleList([nn.BatchNorm1d(70), nn.BatchNorm1d(40)])
        self.last = nn.Linear(40, 6)

    def forward(self, x: Tensor, scale: float | None = None) -> Tensor:
        x = self.input_norm(x.view(x.size(0), -1))
        for layer, norm in zip(self.hidden, self.norms, strict=True):
            x = F.hardtanh(norm(layer(x)))
        if scale is not None:
            x = x * scale
        return self.last(F.dropout(x, 0.2, self.training))


class PreActivation(nn.Module):
    """Normalization before the convolutions; shortcuts of several kinds; a value that three layers read."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 10, 3, padding=1), nn.AvgPool2d(2))
        self.bn1, self.bn2, self.bn3 = (nn.BatchNorm2d(10) for _ in range(3))
        self.left, self.right = nn.Conv2d(10, 10, 3, padding=1), nn.Conv2d(10, 10, 1)
        self.third = nn.Conv2d(10, 10, 5, padding=2)
        self.prelu = nn.PReLU(10)
        self.pool, self.tail = nn.MaxPool2d(3, 2, 1), nn.BatchNorm2d(10)
        self.fc1, self.norm, self.fc2 = nn.Linear(10 * 2 * 2, 30), nn.BatchNorm1d(30), nn.Linear(30, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.bn1(x).clamp_(-1, 1)
        z = self.left(y) + self.right(y)
        x = self.prelu(self.bn2(z)) + x
        x = x + F.leaky_relu(self.third(self.bn3(x)), 0.3)
        x = self.pool(x)
        x = torch.relu(self.tail(x)).reshape(-1, 40)
        return self.fc2(torch.clamp(self.norm(self.fc1(x)), -1, 1))


def converted(network: nn.Module, in_shape: tuple[int, int, int], seed: int = 1, **options: Any) -> nn.Module:
    """Return a network, converted, in evaluation mode."""
    torch.manual_seed(seed)
    net = convert(network, **options)
    for layer in net.modules():
        _draw(layer)
    with torch.no_grad():
        net.train()(normalize(images(in_shape, 32, seed), MEAN, STD))
    return net.eval().requires_grad_(False)


@torch.no_grad()
def _draw(layer: nn.Module) -> None:
    if isinstance(layer, CimConv2d | CimLinear):
        layer.weight.uniform_(-1, 1)
        if layer.bias is not None:
            layer.bias.uniform_(-3, 3)
    if isinstance(layer, BatchNorm):
        layer.momentum = None  # the plain average of what it has seen
        layer.weight.uniform_(0.3, 1.2).mul_(torch.randn_like(layer.weight).sign())
        layer.bias.uniform_(-0.3, 0.3)
    if isinstance(layer, nn.PReLU):
        layer.weight.uniform_(-0.5, 0.5)


def images(in_shape: tuple[int, int, int], count: int, seed: int = 1) -> Tensor:
    """Return uint8 images of noise."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, *in_shape), dtype=torch.uint8, generator=generator)


@torch.inference_mode()
def torch_logits(net: nn.Module, stored: Tensor) -> Tensor:
    """Return the logits as evaluation in torch defines them."""
    with repeatable(net):
        logits: Tensor = net(normalize(stored, MEAN, STD))
    return logits
