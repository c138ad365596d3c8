"""What a packed file keeps of each kind of layer, and how a layer comes back from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from bnnkit.models.sign_block import SignBlock
from bnnkit.nn import CimConv2d, CimLinear, GatedConv2d, ScaledCimConv2d, ScaledConv2d
from bnnkit.nn.activations import RPReLU, ShiftRPReLU
from bnnkit.nn.evaluation import BatchNorm, scale_and_shift
from bnnkit.quantizers import Quantizer

Parts: TypeAlias = dict[str, Tensor]
Expected: TypeAlias = dict[str, tuple[torch.Size, torch.dtype]]


@dataclass(frozen=True)
class Kind:
    """One kind of layer: its stored tensors by name, what they must look like, and the way back.

    A layer read back gives the same numbers in evaluation as the one that was stored.
    """

    pack: Callable[[Any], Parts]
    expected: Callable[[Any], Expected]
    unpack: Callable[[Any, Mapping[str, Tensor]], None]


def kind_of(layer: nn.Module) -> Kind | None:
    """Return how a layer is stored; None for one without parameters of its own."""
    for types, kind in KINDS:
        if isinstance(layer, types):
            return kind
    return None


def _copied(*names: str, dtype: torch.dtype = torch.float32) -> Kind:
    """Return a kind whose parameters are kept as they are; None among them is left out."""

    def present(layer: Any) -> Parts:
        found = {name: getattr(layer, name) for name in names}
        return {name: value for name, value in found.items() if value is not None}

    def unpack(layer: Any, parts: Mapping[str, Tensor]) -> None:
        for name, value in present(layer).items():
            value.copy_(parts[name])

    return Kind(
        lambda layer: {name: value.detach().to(dtype).clone() for name, value in present(layer).items()},
        lambda layer: {name: (value.shape, dtype) for name, value in present(layer).items()},
        unpack,
    )


def _with_codes(*others: str) -> Kind:
    """Return the kind of layers on arrays: codes of their weights, and other parameters as they are."""
    rest = _copied(*others)

    def unpack(layer: Any, parts: Mapping[str, Tensor]) -> None:
        layer.weight.copy_(weight_of(parts["codes"], layer))
        rest.unpack(layer, parts)

    return Kind(
        lambda layer: {"codes": codes_of(layer.weight_quantizer, layer.weight), **rest.pack(layer)},
        lambda layer: {"codes": _codes_size(layer), **rest.expected(layer)},
        unpack,
    )


def _codes_size(layer: CimConv2d | CimLinear) -> tuple[torch.Size, torch.dtype]:
    return torch.Size([-(-layer.weight_quantizer.planes * layer.weight.numel() // 8)]), torch.uint8


def codes_of(quantizer: Quantizer, weight: Tensor) -> Tensor:
    """Return the bits of weight codes without gaps, plane after plane, in the weight's order: uint8."""
    code = quantizer.code(weight.detach().float().cpu()).flatten().to(torch.uint8)
    planes = range(quantizer.planes)
    bits = torch.stack([(code > p).to(torch.uint8) if quantizer.thermometer else code >> p & 1 for p in planes])
    return torch.from_numpy(np.packbits(bits.numpy().reshape(-1), bitorder="little"))


def weight_of(codes: Tensor, layer: CimConv2d | CimLinear) -> Tensor:
    """Return the quantized weight of a layer from its stored codes, float32 of the weight's shape."""
    quantizer, shape = layer.weight_quantizer, layer.weight.shape
    count = shape.numel()
    bits = np.unpackbits(codes.numpy(), bitorder="little", count=quantizer.planes * count)
    code = torch.zeros(count, dtype=torch.uint8)
    for p, plane in enumerate(torch.from_numpy(bits).view(quantizer.planes, count)):
        code += plane if quantizer.thermometer else plane << p
    return code.float().mul_(2).sub_(quantizer.levels - 1).div_(quantizer.unit).view(shape)


def _pack_scaled(layer: ScaledCimConv2d) -> Parts:
    codes = codes_of(layer.weight_quantizer, layer.latent_weight())
    return {"codes": codes, "factor": layer.factor().detach().clone()}


def _unpack_scaled(layer: ScaledCimConv2d, parts: Mapping[str, Tensor]) -> None:
    layer.become(weight_of(parts["codes"], layer), parts["factor"])


def _unpack_stem(layer: ScaledConv2d, parts: Mapping[str, Tensor]) -> None:
    layer.weight.copy_(parts["weight"])
    layer.is_standardized = True


def _unpack_norm(norm: BatchNorm, parts: Mapping[str, Tensor]) -> None:
    """Make a normalization compute exactly scale * x + shift in evaluation."""
    norm.affine, norm.eps = True, 0.0
    norm.weight, norm.bias = nn.Parameter(parts["scale"].clone()), nn.Parameter(parts["shift"].clone())
    assert norm.running_mean is not None and norm.running_var is not None
    norm.running_mean.zero_()
    norm.running_var.fill_(1)


def _vectors(size: int, *names: str) -> Expected:
    return {name: (torch.Size([size]), torch.float32) for name in names}


KINDS: tuple[tuple[type | tuple[type, ...], Kind], ...] = (
    (
        ScaledCimConv2d,
        Kind(
            _pack_scaled,
            lambda layer: {"codes": _codes_size(layer), **_vectors(layer.out_channels, "factor")},
            _unpack_scaled,
        ),
    ),
    (GatedConv2d, _with_codes("threshold")),
    ((CimConv2d, CimLinear), _with_codes("bias")),
    (
        ScaledConv2d,
        Kind(
            lambda layer: {"weight": layer.effective_weight().detach().clone()},
            lambda layer: {"weight": (layer.weight.shape, torch.float32)},
            _unpack_stem,
        ),
    ),
    ((nn.Conv2d, nn.Linear), _copied("weight", "bias")),
    (
        BatchNorm,
        Kind(
            lambda norm: dict(zip(("scale", "shift"), scale_and_shift(norm), strict=True)),
            lambda norm: _vectors(norm.num_features, "scale", "shift"),
            _unpack_norm,
        ),
    ),
    (nn.PReLU, _copied("weight")),
    (RPReLU, _copied("bias_in", "slope", "bias_out")),
    (ShiftRPReLU, _copied("bias_in", "log2_slope", "bias_out")),
    (SignBlock, _copied("offset")),
)
"""The first type that a layer is an instance of decides."""
