"""Which layers of a torch network can be computed on arrays, and the layers on arrays that take their places."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd as AnyConv
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear as AttentionLinear
from torch.nn.parameter import UninitializedParameter

from bnnkit.errors import UsageError
from bnnkit.nn.bit_serial import BitSerial
from bnnkit.nn.conv import CimConv2d
from bnnkit.nn.linear import CimLinear
from bnnkit.nn.operands import Operands, Pair
from bnnkit.nn.scaled import ScaledConv2d

REACH = 3.0
"""Latent weights are weights divided by so many times their root mean square."""


def is_candidate(layer: nn.Module) -> bool:
    """Return whether a layer is a convolution or linear layer of any kind."""
    return isinstance(layer, AnyConv | nn.Linear)


def is_plain(layer: nn.Module) -> bool:
    """Return whether a layer is a `Conv2d` or `Linear` that computes what those compute, whatever its class."""
    if isinstance(layer, nn.Conv2d):
        return (type(layer).forward, type(layer)._conv_forward) == (nn.Conv2d.forward, nn.Conv2d._conv_forward)
    return isinstance(layer, nn.Linear) and type(layer).forward == nn.Linear.forward


def shared_parameters(model: nn.Module) -> frozenset[int]:
    """Return the ids of parameters that several layers own."""
    owners = Counter(id(p) for layer in model.modules() for p in layer._parameters.values() if p is not None)
    return frozenset(key for key, count in owners.items() if count > 1)


def why_not(layer: nn.Module, shared: frozenset[int] = frozenset()) -> str | None:
    """Return why a convolution or linear layer cannot be put on arrays, or None if it can.

    >>> why_not(nn.ConvTranspose2d(3, 8, 2)), why_not(nn.Conv2d(3, 8, 3))
    ('a ConvTranspose2d; a Conv2d or Linear was needed', None)
    """
    if isinstance(layer, Operands | BitSerial | ScaledConv2d):
        return f"a {type(layer).__name__}, which has quantized or scaled weights already"
    if isinstance(layer, AttentionLinear):
        return "a part of nn.MultiheadAttention, which reads its weights itself"
    if not isinstance(layer, nn.Conv2d | nn.Linear):
        return f"a {type(layer).__name__}; a Conv2d or Linear was needed"
    if not is_plain(layer):
        return f"a {type(layer).__name__} with a forward of its own"
    if not isinstance(layer.__dict__["_parameters"].get("weight"), nn.Parameter):
        return "with a weight that is computed from other parameters"
    if isinstance(layer.weight, UninitializedParameter):
        return "lazy and without weights; run one batch through the network first"
    if layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks:
        return "with hooks, which would be lost"
    if any(id(p) in shared for p in layer.parameters()):
        return "with parameters that another layer has, too"
    if layer.weight.dtype != torch.float32:
        return f"with weights of {layer.weight.dtype}; float32 was needed"
    return _why_not_padded(layer) if isinstance(layer, nn.Conv2d) else None


def _why_not_padded(layer: nn.Conv2d) -> str | None:
    if layer.padding_mode != "zeros":
        return f"with padding_mode '{layer.padding_mode}'; zeros were needed"
    if layer.padding == "same" and any(d * (k - 1) % 2 for d, k in zip(layer.dilation, layer.kernel_size, strict=True)):
        return f"with padding 'same' that differs between the sides of its {layer.kernel_size} kernel"
    return None


def on_arrays(layer: nn.Conv2d | nn.Linear, options: dict[str, Any]) -> CimConv2d | CimLinear:
    """Return a layer on arrays with the weights of `layer` as latent weights.

    Low-bit weights are divided by three times their root mean square, and so is the bias; both are clamped to [-1, 1].

    Args:
        options: of the layer on arrays.

    Raises:
        UsageError: impossible options, or a kernel that does not fit the array.
    """
    has_bias = layer.bias is not None
    new: CimConv2d | CimLinear
    if isinstance(layer, nn.Conv2d):
        sizes = (layer.in_channels, layer.out_channels, _pair(layer.kernel_size), _pair(layer.stride))
        new = CimConv2d(*sizes, padding_of(layer), _pair(layer.dilation), layer.groups, has_bias, **options)
    else:
        new = CimLinear(layer.in_features, layer.out_features, has_bias, **options)
    scale = _scale(layer.weight) if new.weight_quantizer.planes else None
    new.weight = _latent(layer.weight, scale)
    if layer.bias is not None:
        new.bias = _latent(layer.bias, scale)
    return new.train(layer.training)


def padding_of(layer: nn.Conv2d) -> Pair:
    """Return the padding of a convolution in pixels.

    >>> padding_of(nn.Conv2d(1, 1, 3, padding="same"))
    (1, 1)
    """
    if layer.padding == "same":
        rows, cols = (d * (k - 1) // 2 for d, k in zip(layer.dilation, layer.kernel_size, strict=True))
        return rows, cols
    return (0, 0) if isinstance(layer.padding, str) else _pair(layer.padding)


def _pair(sizes: tuple[int, ...]) -> Pair:
    rows, cols = sizes
    return rows, cols


def _scale(weight: Tensor) -> float:
    rms = weight.detach().double().square().mean().sqrt().item()
    if not rms < float("inf"):
        raise UsageError("its weights are not finite; numbers were needed", hint="train it with a lower learning rate")
    return 1 / (REACH * rms) if rms else 1.0


def _latent(values: Tensor, scale: float | None) -> nn.Parameter:
    latent = values.detach().clone()
    if scale is not None:
        latent.mul_(scale).clamp_(-1, 1)
    return nn.Parameter(latent, requires_grad=values.requires_grad)
