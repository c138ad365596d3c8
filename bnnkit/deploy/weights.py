"""What a packed network must remember: bits of the low-bit weights, floats of the rest, normalization of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from bnnkit.errors import MismatchError, UsageError
from bnnkit.models import Model, create_model
from bnnkit.nn import CimConv2d, CimLinear, Operands
from bnnkit.nn.evaluation import BatchNorm, scale_and_shift
from bnnkit.quantizers import Quantizer

REPACK = "pack the checkpoint again: bnnkit pack CHECKPOINT"


@dataclass(frozen=True)
class PackedWeights:
    """The parameters of a network as they are stored and computed with.

    Attributes:
        config: arguments of `create_model`.
        mean, std: normalization of the images, per channel.
        tensors: by layer name, `.codes` (uint8, bits of the weight codes, plane after plane, in the weight's order),
            `.bias`, `.weight` (float32, full-precision layers), `.scale` and `.shift` (float32, normalizations).
        provenance: where the weights come from.
    """

    config: dict[str, Any]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    tensors: dict[str, Tensor]
    provenance: dict[str, Any] = field(default_factory=dict)

    def skeleton(self, **changes: Any) -> Model:
        """Return the network with undefined parameters, which take no memory as long as nothing touches them.

        Args:
            changes: options that differ from `config`.

        Raises:
            MismatchError: a parameter is missing, unknown or of another size.
        """
        model = skeleton({**self.config, **changes})
        _check(self.tensors, _expected(model))
        return model

    @property
    def needed_bits(self) -> int:
        """Bits that any file of this network must hold."""
        return sum(8 * tensor.numel() * tensor.element_size() for tensor in self.tensors.values())


class _Uninitialised(TorchFunctionMode):
    """Leave the parameters of layers built inside the block as they come from the allocator.

    The meta device would do too, but loading what it needs takes more memory than most networks.
    """

    FILLING = frozenset({"uniform_", "normal_", "fill_", "zero_", "kaiming_uniform_"})

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func.__name__ in self.FILLING:
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


def skeleton(config: Mapping[str, Any]) -> Model:
    """Return the network of a config with undefined parameters, in evaluation mode.

    Raises:
        UsageError: an impossible option.
        MismatchError: the config is not one of this version.
    """
    try:
        with _Uninitialised():
            return create_model(**config).eval()
    except TypeError as failure:
        raise MismatchError(f"config: {failure}; options of create_model were needed", hint=REPACK) from failure


def why_not(model: nn.Module) -> str | None:
    """Return why a network with the converters it has cannot run packed, or None if it can."""
    for name, layer in _array_layers(model):
        if layer.adc is None and layer.activation.planes * layer.weight_quantizer.planes > 1:
            bits = f"layer {name}: {layer.ao_bit}-bit activations, {layer.w_bit}-bit weights"
            return f"{bits} and no converter; exact sums are packed for 1 bit only"
        if layer.adc is not None and not layer.adc.scale > 0:
            return f"layer {name}: its converter has one level only"
    return _why_no_bits(model)


def _why_no_bits(model: nn.Module) -> str | None:
    """Return why the weights of a network cannot be packed, whatever its converters."""
    layers = _array_layers(model)
    for name, layer in layers:
        if not (layer.activation.planes and layer.weight_quantizer.planes):
            bits = f"layer {name}: {layer.ao_bit}-bit activations, {layer.w_bit}-bit weights"
            return f"{bits}; bits were needed on both sides"
    return None if layers else "it has no layer on arrays"


def _array_layers(model: nn.Module) -> list[tuple[str, Operands]]:
    return [(name, layer) for name, layer in model.named_modules() if isinstance(layer, Operands)]


def pack_model(
    model: Model, mean: Sequence[float], std: Sequence[float], provenance: Mapping[str, Any] | None = None
) -> PackedWeights:
    """Pack a trained network. Its converters do not matter: they are chosen anew when it is run.

    Args:
        model: of the registry, with low-bit layers on arrays.
        mean, std: normalization of its images, per input channel.

    Raises:
        UsageError: an operand has no bits; the message names the layer.

    >>> from bnnkit import create_model
    >>> packed = pack_model(create_model("mlp", in_shape=(1, 8, 8)), (0.5,), (0.25,))
    >>> packed.tensors["hidden.0.codes"].shape          # 512 x 64 bits
    torch.Size([4096])
    """
    reason = _why_no_bits(model)
    if reason is not None:
        raise UsageError(f"deploy: {model.config['name']} cannot be packed: {reason}", hint="use the backend torch")
    tensors: dict[str, Tensor] = {}
    for name, layer in model.named_modules():
        if isinstance(layer, CimConv2d | CimLinear):
            tensors[f"{name}.codes"] = _pack_codes(layer.weight_quantizer, layer.weight.detach())
        elif isinstance(layer, nn.Conv2d | nn.Linear):
            tensors[f"{name}.weight"] = layer.weight.detach().float().clone()
        elif isinstance(layer, BatchNorm):
            tensors[f"{name}.scale"], tensors[f"{name}.shift"] = scale_and_shift(layer)
            continue
        else:
            continue
        if layer.bias is not None:
            tensors[f"{name}.bias"] = layer.bias.detach().float().clone()
    return PackedWeights(model.config, tuple(mean), tuple(std), tensors, dict(provenance or {}))


@torch.no_grad()
def unpack_model(weights: PackedWeights, **changes: Any) -> Model:
    """Build a network for the other backends: its latent weights are the quantized ones.

    In evaluation it gives the same numbers as the network that was packed. It cannot be trained further from where
    that one stood.
    """
    weights.skeleton(**changes)
    model = create_model(**{**weights.config, **changes}).eval()
    for name, layer in model.named_modules():
        if isinstance(layer, CimConv2d | CimLinear):
            layer.weight.copy_(quantized_weight(weights, name, layer))
        elif isinstance(layer, nn.Conv2d | nn.Linear):
            layer.weight.copy_(weights.tensors[f"{name}.weight"])
        elif isinstance(layer, BatchNorm):
            _become(layer, weights.tensors[f"{name}.scale"], weights.tensors[f"{name}.shift"])
            continue
        else:
            continue
        if layer.bias is not None:
            layer.bias.copy_(weights.tensors[f"{name}.bias"])
    return model


def quantized_weight(weights: PackedWeights, name: str, layer: CimConv2d | CimLinear) -> Tensor:
    """Return the quantized weight of a layer, float32 of the weight's shape."""
    quantizer, shape = layer.weight_quantizer, layer.weight.shape
    count = shape.numel()
    bits = np.unpackbits(weights.tensors[f"{name}.codes"].numpy(), bitorder="little", count=quantizer.planes * count)
    code = torch.zeros(count, dtype=torch.uint8)
    for p, plane in enumerate(torch.from_numpy(bits).view(quantizer.planes, count)):
        code += plane if quantizer.thermometer else plane << p
    return code.float().mul_(2).sub_(quantizer.levels - 1).div_(quantizer.unit).view(shape)


def _pack_codes(quantizer: Quantizer, weight: Tensor) -> Tensor:
    code = quantizer.code(weight.float().cpu()).flatten().to(torch.uint8)
    passed = [(code > p).to(torch.uint8) if quantizer.thermometer else code >> p & 1 for p in range(quantizer.planes)]
    bits = torch.stack(passed).numpy()
    return torch.from_numpy(np.packbits(bits.reshape(-1), bitorder="little"))


def _become(norm: BatchNorm, scale: Tensor, shift: Tensor) -> None:
    """Make a normalization compute exactly scale * x + shift in evaluation."""
    norm.affine, norm.eps = True, 0.0
    norm.weight, norm.bias = nn.Parameter(scale.clone()), nn.Parameter(shift.clone())
    assert norm.running_mean is not None and norm.running_var is not None
    norm.running_mean.zero_()
    norm.running_var.fill_(1)


def _expected(model: Model) -> dict[str, tuple[torch.Size, torch.dtype]]:
    """Return the size and type that every stored tensor must have."""
    expected: dict[str, tuple[torch.Size, torch.dtype]] = {}
    for name, layer in model.named_modules():
        if isinstance(layer, CimConv2d | CimLinear):
            count = -(-layer.weight_quantizer.planes * layer.weight.numel() // 8)
            expected[f"{name}.codes"] = (torch.Size([count]), torch.uint8)
        elif isinstance(layer, nn.Conv2d | nn.Linear):
            expected[f"{name}.weight"] = (layer.weight.shape, torch.float32)
        elif isinstance(layer, BatchNorm):
            for part in ("scale", "shift"):
                expected[f"{name}.{part}"] = (torch.Size([layer.num_features]), torch.float32)
            continue
        else:
            continue
        if layer.bias is not None:
            expected[f"{name}.bias"] = (layer.bias.shape, torch.float32)
    return expected


def _check(tensors: Mapping[str, Tensor], expected: Mapping[str, tuple[torch.Size, torch.dtype]]) -> None:
    problems = [f"{name} is missing" for name in expected if name not in tensors]
    problems += [f"{name} is unknown" for name in tensors if name not in expected]
    problems += [
        f"{name} is {list(tensors[name].shape)} {tensors[name].dtype}, needed {list(shape)} {dtype}"
        for name, (shape, dtype) in expected.items()
        if name in tensors and (tensors[name].shape != shape or tensors[name].dtype != dtype)
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise MismatchError(
            f"packed network: does not fit its architecture: {', '.join(problems[:3])}{more}",
            hint=REPACK,
        )
