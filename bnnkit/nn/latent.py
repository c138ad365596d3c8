"""What training and evaluation do to all CIM layers of a network at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from bnnkit.cim import Fault
from bnnkit.cim.adc import AdcBits
from bnnkit.errors import UsageError
from bnnkit.nn.conv import CimConv2d
from bnnkit.nn.linear import CimLinear
from bnnkit.nn.operands import Operands
from bnnkit.nn.perturbation import Perturbation
from bnnkit.nn.standardized import Standardized


@torch.no_grad()
def clamp_latent(module: nn.Module) -> None:
    """Clamp latent weights and biases of all layers with low-bit weights to [-1, 1], in place.

    Layers of A&B BNN and FracBNN, whose weights are standardized or have gradients of limited reach, are left alone.
    Call it after every optimizer step: beyond +-1 a latent weight only drifts away from its threshold.
    Paper: Courbariaux et al., "BinaryConnect", 2015.
    """
    for layer in module.modules():
        if isinstance(layer, CimConv2d | CimLinear) and layer.clamps_latent and layer.weight_quantizer.planes:
            layer.weight.clamp_(-1, 1)
            if layer.bias is not None:
                layer.bias.clamp_(-1, 1)


def set_progress(module: nn.Module, share: float) -> None:
    """Tell the quantizers of all CIM layers which share of the training is done, 0 to 1; annealing gradients use it."""
    for layer in module.modules():
        if isinstance(layer, Operands):
            layer.activation.progress = layer.weight_quantizer.progress = layer.latent_quantizer.progress = share


def set_adc(module: nn.Module, adc_bit: AdcBits, adc_sigma: float | None = None) -> int:
    """Give all CIM layers under `module` a converter of `adc_bit` bits ("fp": none); return how many there are.

    `adc_sigma` is the width of its impulse gradient, None the published one; evaluation does not depend on it.
    Layers without arrays (first, 1x1 shortcut and last ones, which are plain torch layers) are not touched.
    """
    changed = 0
    for layer in module.modules():
        if isinstance(layer, CimConv2d | CimLinear):
            layer.adc_sigma = adc_sigma
            layer.adc_bit = adc_bit
            layer.layout()
            changed += 1
    return changed


def perturb(module: nn.Module, faults: Sequence[Fault], seed: int) -> None:
    """Let all CIM layers under `module` train with faults, see `bnnkit.nn.Perturbation`; none: without.

    Raises:
        UsageError: a fault that training does not know, one that no layer has a place for, or a layer that cannot.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, Operands)]
    fixed = [type(layer).__name__ for layer in layers if not layer.perturbable]
    if faults and fixed:
        raise UsageError(
            f"fault '{faults[0]}': layers of the kind {fixed[0]} train without faults",
            hint="train mlp, vgg9, res18, res20 or cnv",
        )
    for fault in faults:
        stored = [layer.activation if fault.site == "activation" else layer.weight_quantizer for layer in layers]
        if not any(quantizer.planes > (fault.bit or 0) for quantizer in stored):
            raise UsageError(
                f"fault '{fault}': no layer of the network trains with such bits; mlp, vgg9, res18, res20 and cnv have "
                "them where they are not fp",
                hint="leave the fault out",
            )
    for number, layer in enumerate(layers):
        layer.perturbation = Perturbation(faults, seed, number) if faults else None


def standardize_weights(module: nn.Module) -> None:
    """Let all CIM layers under `module` standardize their latent weights before they quantize them."""
    for layer in module.modules():
        if isinstance(layer, CimConv2d | CimLinear):
            layer.weight_quantizer = Standardized(layer.weight_quantizer)


def set_step(module: nn.Module, step: int, first_image: int = 0) -> None:
    """Tell the layers that train with faults which step they are in, and which image of its batch they see first.

    These numbers decide what is drawn.
    """
    for layer in module.modules():
        if isinstance(layer, Operands) and layer.perturbation is not None:
            layer.perturbation.step, layer.perturbation.first_image = step, first_image
