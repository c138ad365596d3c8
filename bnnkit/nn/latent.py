"""What training and evaluation do to all CIM layers of a network at once."""

from __future__ import annotations

import torch
from torch import nn

from bnnkit.cim.adc import AdcBits
from bnnkit.nn.conv import CimConv2d
from bnnkit.nn.linear import CimLinear
from bnnkit.nn.operands import Operands


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
            layer.activation.progress = layer.weight_quantizer.progress = share


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
