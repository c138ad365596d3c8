"""Small networks whose outputs differ from image to image."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bnnkit import deploy
from bnnkit.data import normalize
from bnnkit.models import Model, create_model
from bnnkit.nn import CimConv2d, CimLinear
from bnnkit.nn.evaluation import BatchNorm
from bnnkit.train.precision import repeatable

MEAN, STD = 0.45, 0.25


def images(model: Model, count: int, seed: int = 1) -> Tensor:
    """Return uint8 images of noise."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, *model.settings.in_shape), dtype=torch.uint8, generator=generator)


def norms(model: Model) -> tuple[tuple[float, ...], tuple[float, ...]]:
    colours = model.settings.in_shape[0]
    return (MEAN,) * colours, (STD,) * colours


def network(name: str, seed: int = 1, **options: Any) -> Model:
    """Return a network with random weights, biases, and normalizations of both signs fitted to random images."""
    torch.manual_seed(seed)
    model = create_model(name, **options)
    for layer in model.modules():
        if isinstance(layer, CimConv2d | CimLinear):
            layer.weight.data.uniform_(-1, 1)
            if layer.bias is not None:
                layer.bias.data.uniform_(-20, 20)
        if isinstance(layer, BatchNorm):
            layer.momentum = None  # the plain average of what it has seen
            if layer.weight is not None:
                layer.weight.data.uniform_(0.3, 1.2).mul_(torch.randn_like(layer.weight).sign())
                layer.bias.data.uniform_(-0.3, 0.3)
    with torch.no_grad():
        model.train()(normalize(images(model, 32, seed), *norms(model)))
    return model.eval().requires_grad_(False)


def packed(model: Model) -> deploy.PackedNetwork:
    return deploy.compile(model, *norms(model))


@torch.inference_mode()
def torch_logits(model: Model, stored: Tensor) -> Tensor:
    """Return the logits as evaluation in torch defines them."""
    with repeatable(model):
        logits: Tensor = model(normalize(stored, *norms(model)))
    return logits
