"""Inference of a network from stored images to logits: packed, by its layers, as a loop over arrays, without arrays."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bnnkit import deploy
from bnnkit.bench.baseline import loop_network
from bnnkit.data import normalize
from bnnkit.models import Model, create_model
from bnnkit.nn.evaluation import BatchNorm

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
FITTED_IMAGES = 16

Run = Callable[[Tensor], Tensor]


def build(name: str, width: int) -> Model:
    """Return a network with 1-bit operands and converters, its normalizations fitted to random images."""
    return _settled(create_model(name, width=width))


def random_images(batch: int) -> Tensor:
    """Return uint8 [batch, 3, 32, 32]."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (batch, 3, 32, 32), dtype=torch.uint8, generator=generator)


def packed(model: Model) -> deploy.PackedNetwork:
    """Return the network packed."""
    return deploy.compile(model, MEAN, STD)


def side(name: str, model: Model) -> Run:
    """Return how a contender gets from uint8 images to logits.

    Args:
        name: "packed", "layers" (the modules of `model` on packed kernels), "loop", "fp32" or "bf16" (the same
            architecture without quantization and converters).
    """
    if name == "packed":
        return packed(model)
    if name == "layers":
        return lambda images: _forward(model, normalize(images, MEAN, STD))
    if name == "loop":
        loop = loop_network(model)
        return lambda images: _forward(loop, normalize(images, MEAN, STD))
    settings = model.settings
    plain = _settled(create_model(settings.name, width=settings.width, ao_bit="fp", w_bit="fp", adc_bit="fp"))
    if name == "fp32":
        return lambda images: _forward(plain, normalize(images, MEAN, STD))
    half = plain.bfloat16()
    return lambda images: _forward(half, normalize(images, MEAN, STD).bfloat16())


@torch.inference_mode()
def _forward(model: Model, x: Tensor) -> Tensor:
    logits: Tensor = model(x)
    return logits


def _settled(model: Model) -> Model:
    """Return `model` ready for inference, its normalizations fitted to random images (as built they saturate)."""
    for module in model.modules():
        if isinstance(module, BatchNorm):
            module.momentum = None  # the plain average of what it has seen
    with torch.no_grad():
        model.train()(normalize(random_images(FITTED_IMAGES), MEAN, STD))
    return model.eval().requires_grad_(False)
