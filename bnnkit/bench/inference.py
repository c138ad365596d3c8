"""Inference of a network from stored images to logits: packed, by its layers, as a loop over arrays, without arrays."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from bnnkit import deploy
from bnnkit.bench.baseline import loop_network
from bnnkit.data import normalize
from bnnkit.models import MODELS, Model, create_model
from bnnkit.nn import ScaledCimConv2d, ScaledConv2d
from bnnkit.nn.evaluation import BatchNorm

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
RAW = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
FITTED_IMAGES = 16

Run = Callable[[Tensor], Tensor]


def build(name: str, width: int) -> Model:
    """Return a network with its usual operands and converters, its normalizations fitted to random images."""
    return _settled(create_model(name, width=width))


def random_images(batch: int) -> Tensor:
    """Return uint8 [batch, 3, 32, 32]."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (batch, 3, 32, 32), dtype=torch.uint8, generator=generator)


def normalization(model: Model) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of the images as a network expects them."""
    return (MEAN, STD) if MODELS.get(model.settings.name).normalized else RAW


def packed(model: Model, *, gate_skips: bool = False) -> deploy.PackedNetwork:
    """Return the network packed."""
    return deploy.PackedNetwork(deploy.pack_model(model, *normalization(model)), gate_skips=gate_skips)


def on_device(model: Model, device: str) -> Model:
    """Return a copy of a network on a device."""
    return copy.deepcopy(model).to(device)


def side(name: str, model: Model) -> Run:
    """Return how a contender gets from uint8 images to logits, both on the device of the model.

    Args:
        name: "packed", "layers" (the modules of `model` on packed kernels), "loop", "fp32" or "bf16" (the same
            architecture without quantization and converters).
    """
    norms = normalization(model)
    if name == "packed":
        return packed(model)
    if name == "layers":
        return lambda images: _forward(model, normalize(images, *norms))
    if name == "loop":
        loop = loop_network(model)
        return lambda images: _forward(loop, normalize(images, *norms))
    settings = model.settings
    plain = _settled(create_model(settings.name, width=settings.width, ao_bit="fp", w_bit="fp", adc_bit="fp"))
    without_standardization(plain)
    plain.to(next(model.parameters()).device)
    if name == "fp32":
        return lambda images: _forward(plain, normalize(images, *norms))
    half = plain.bfloat16()
    return lambda images: _forward(half, normalize(images, *norms).bfloat16())


@torch.no_grad()
def without_standardization(model: Model) -> None:
    """Put plain convolutions with the same weights in place of standardized ones, which derive them every time."""
    for name, layer in list(model.named_modules()):
        if isinstance(layer, ScaledConv2d | ScaledCimConv2d):
            model.set_submodule(name, _convolution(layer.effective_weight(), layer).requires_grad_(False))


def _convolution(weight: Tensor, like: nn.Conv2d) -> nn.Conv2d:
    plain = nn.Conv2d(like.in_channels, like.out_channels, 1, bias=False)
    plain.kernel_size, plain.stride, plain.padding = like.kernel_size, like.stride, like.padding
    plain.weight = nn.Parameter(weight)
    return plain


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
        model.train()(normalize(random_images(FITTED_IMAGES), *normalization(model)))
    return model.eval().requires_grad_(False)
