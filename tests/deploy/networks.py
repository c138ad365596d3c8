"""Small networks whose outputs differ from image to image."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bnnkit import deploy
from bnnkit.data import normalize
from bnnkit.models import MODELS, Model, create_model
from bnnkit.models.sign_block import SignBlock
from bnnkit.nn import CimConv2d, CimLinear, GatedConv2d, ScaledCimConv2d, ScaledConv2d
from bnnkit.nn.activations import RPReLU, ShiftRPReLU
from bnnkit.nn.evaluation import BatchNorm
from bnnkit.train.precision import repeatable

MEAN, STD = 0.45, 0.25

NETWORKS: list[tuple[str, dict[str, Any]]] = [
    ("mlp", {"in_shape": (1, 8, 8)}),
    ("mlp", {"adc_bit": 3, "ao_bit": 2, "w_bit": 1.5, "in_shape": (1, 8, 8)}),
    ("mlp", {"adc_bit": "fp", "in_shape": (1, 9, 7)}),
    ("cnv", {"width": 1}),
    ("vgg9", {"width": 1, "in_shape": (3, 8, 8), "ao_bit": 2, "adc_bit": 4}),
    ("vgg9", {"width": 1, "in_shape": (3, 9, 8)}),
    ("res18", {"width": 1, "rows": 9, "in_shape": (1, 9, 7), "classes": 3}),
    ("res20", {"width": 1, "adc_bit": "fp", "in_shape": (3, 12, 8)}),
    ("res20", {"width": 1, "ao_bit": 1.5, "w_bit": 2, "adc_bit": 2, "in_shape": (3, 8, 8)}),
    ("res20", {"width": 1, "ao_bit": 3, "w_bit": 3, "adc_bit": 4, "mapping": "tap", "rows": 64, "in_shape": (3, 8, 8)}),
    ("reactnet18", {"width": 1, "in_shape": (3, 8, 8)}),
    ("reactnet18", {"width": 1, "adc_bit": 2, "rows": 50, "in_shape": (1, 8, 16), "classes": 3}),
    ("reactnet34", {"width": 1, "in_shape": (3, 8, 8)}),
    ("reactnetA", {"width": 1, "adc_bit": 3, "mapping": "tap", "in_shape": (3, 16, 16)}),
    ("reactnetA", {"width": 1, "in_shape": (3, 128, 128)}),
    ("fracbnn20", {"in_shape": (3, 8, 12)}),
    ("fracbnn20", {"adc_bit": 2, "mapping": "tap", "rows": 24, "in_shape": (1, 4, 8), "classes": 3}),
    ("fracbnn_imagenet", {"in_shape": (3, 32, 32)}),
]
"""Names and options: all architectures, with odd sizes, mappings and bits; for what plays a described network."""


def images(model: Model, count: int, seed: int = 1) -> Tensor:
    """Return uint8 images of noise."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, *model.settings.in_shape), dtype=torch.uint8, generator=generator)


def norms(model: Model) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and std of the images; 0 and 1 for networks that read pixel / 255."""
    colours = model.settings.in_shape[0]
    mean, std = (MEAN, STD) if MODELS.get(model.settings.name).normalized else (0.0, 1.0)
    return (mean,) * colours, (std,) * colours


def network(name: str, seed: int = 1, **options: Any) -> Model:
    """Return a network with random parameters of both signs.

    Normalizations are fitted to random images, and thresholds of precision gates such that about half of them open.
    """
    torch.manual_seed(seed)
    model = create_model(name, **options)
    for layer in model.modules():
        _draw(layer)
    if any(isinstance(layer, BatchNorm) for layer in model.modules()):
        _fit(model, normalize(images(model, 32, seed), *norms(model)))
    return model.eval().requires_grad_(False)


@torch.no_grad()
def _draw(layer: nn.Module) -> None:
    if isinstance(layer, GatedConv2d | ScaledCimConv2d | ScaledConv2d):
        layer.weight.normal_()
    elif isinstance(layer, CimConv2d | CimLinear):
        layer.weight.uniform_(-1, 1)
        if layer.bias is not None:
            layer.bias.uniform_(-20, 20)
    if isinstance(layer, ScaledCimConv2d | ScaledConv2d):
        layer.gain.uniform_(0.5, 1.5).mul_(torch.randn_like(layer.gain).sign())
    if isinstance(layer, SignBlock):
        layer.offset.normal_(0, 0.5)
    if isinstance(layer, RPReLU | ShiftRPReLU):
        layer.bias_in.normal_(0, 0.3)
        layer.bias_out.normal_(0, 0.3)
    if isinstance(layer, RPReLU):
        layer.slope.normal_(0, 0.5)
    if isinstance(layer, ShiftRPReLU):
        layer.log2_slope.uniform_(-5, 0.8)  # slopes of 1/32 to 2
    if isinstance(layer, BatchNorm):
        layer.momentum = None  # the plain average of what it has seen
        if layer.weight is not None:
            layer.weight.uniform_(0.3, 1.2).mul_(torch.randn_like(layer.weight).sign())
            layer.bias.uniform_(-0.3, 0.3)


@torch.no_grad()
def _fit(model: Model, x: Tensor) -> None:
    gates = [layer.register_forward_pre_hook(_fit_gate) for layer in model.modules() if isinstance(layer, GatedConv2d)]
    model.train()(x)
    for hook in gates:
        hook.remove()


def _fit_gate(layer: GatedConv2d, inputs: tuple[Tensor, ...]) -> None:
    """Let about half of the gates open; every other threshold is one of the values it is compared with."""
    high = layer.convolve(layer.activation(layer.fraction(inputs[0])), layer.weight)
    layer.threshold.copy_((high * 2 / 3).transpose(0, 1).flatten(1).median(1).values)
    layer.threshold[::2] += 0.1


def packed(model: Model) -> deploy.PackedNetwork:
    return deploy.compile(model, *norms(model))


@torch.inference_mode()
def torch_logits(model: Model, stored: Tensor) -> Tensor:
    """Return the logits as evaluation in torch defines them."""
    with repeatable(model):
        logits: Tensor = model(normalize(stored, *norms(model)))
    return logits
