"""What a packed network must remember: bits of the low-bit weights, floats of the rest, normalization of images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from bnnkit.deploy.stored import Expected, kind_of
from bnnkit.errors import MismatchError, UsageError
from bnnkit.models import Model, create_model
from bnnkit.nn import GatedConv2d, Operands, ScaledCimConv2d

MOST_TAPS = 1024
"""Of a kernel: kMaxTaps in csrc/core/geometry.h."""
REPACK = "pack the checkpoint again: bnnkit pack CHECKPOINT"


@dataclass(frozen=True)
class PackedWeights:
    """The parameters of a network as they are stored and computed with.

    Attributes:
        config: arguments of `create_model`.
        mean, std: normalization of the images, per channel.
        tensors: by layer name, `.codes` (uint8, bits of the weight codes, plane after plane, in the weight's order),
            `.bias`, `.weight` (float32, full-precision layers), `.scale` and `.shift` (float32, normalizations), and
            what else `bnnkit.deploy.stored` lists.
        provenance: where the weights come from.
    """

    config: dict[str, Any]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    tensors: dict[str, Tensor]
    provenance: dict[str, Any] = field(default_factory=dict)

    def skeleton(self, **changes: Any) -> nn.Module:
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


def why_not_layers(model: nn.Module) -> str | None:
    """Return why the layers of a network, with the converters they have, cannot run packed, or None if they can."""
    for name, layer in _array_layers(model):
        if layer.adc is None and layer.activation.planes * layer.weight_quantizer.planes > 1:
            bits = f"layer {name}: {layer.ao_bit}-bit activations, {layer.w_bit}-bit weights"
            return f"{bits} and no converter; exact sums are packed for 1 bit only"
        if layer.adc is not None and not layer.adc.scale > 0:
            return f"layer {name}: its converter has one level only"
        if (taps := math.prod(getattr(layer, "kernel_size", ()))) > MOST_TAPS:
            return f"layer {name}: a kernel of {taps:,} taps; at most {MOST_TAPS:,} can be packed"
        if layer.adc is not None and layer.adc.offset != 0 and isinstance(layer, GatedConv2d | ScaledCimConv2d):
            return f"layer {name}: the levels of its converter are not multiples of one step"
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
    layers = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, Operands)]
    # Binary weights on values are sums of values with signs, and no arrays.
    return [(name, layer) for name, layer in layers if not (_on_values(layer) and layer.weight_quantizer.planes)]


def _on_values(layer: Operands) -> bool:
    return layer.adc is None and not layer.activation.planes


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
    check_low_bit(model, model.config["name"])
    was_training = model.training
    model.eval()  # standardized weights are computed for evaluation
    tensors = stored_tensors(model)
    model.train(was_training)
    return PackedWeights(model.config, tuple(mean), tuple(std), tensors, dict(provenance or {}))


def check_low_bit(model: nn.Module, name: str) -> None:
    """Raise `UsageError` where the weights of a network cannot be packed."""
    reason = _why_no_bits(model)
    if reason is not None:
        raise UsageError(f"deploy: {name} cannot be packed: {reason}", hint="eval runs it in torch")


def stored_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return what is stored of all layers of a network in evaluation mode, see `PackedWeights.tensors`."""
    tensors: dict[str, Tensor] = {}
    for name, layer in model.named_modules():
        kind = kind_of(layer)
        if kind is not None:
            tensors |= {f"{name}.{part}": value for part, value in kind.pack(layer).items()}
    return tensors


@torch.no_grad()
def unpack_model(weights: PackedWeights, **changes: Any) -> Model:
    """Build a network for the other backends: its latent weights are the quantized ones.

    In evaluation it gives the same numbers as the network that was packed. It cannot be trained further from where
    that one stood.
    """
    weights.skeleton(**changes)
    model = create_model(**{**weights.config, **changes}).eval()
    for name, layer in model.named_modules():
        kind = kind_of(layer)
        if kind is not None:
            kind.unpack(layer, {part: weights.tensors[f"{name}.{part}"] for part in kind.expected(layer)})
    return model


def is_as_configured(model: Model) -> bool:
    """Return whether every layer on arrays has the converter and the quantizers that the network's options say."""
    twin = skeleton(model.config)
    pairs = [(layer, twin.get_submodule(name)) for name, layer in model.named_modules() if isinstance(layer, Operands)]
    return all(
        isinstance(other, Operands)
        and layer.adc is other.adc  # equal converters are one object, see `bnnkit.nn.Operands`
        and (layer.activation, layer.weight_quantizer) == (other.activation, other.weight_quantizer)
        for layer, other in pairs
    )


def _expected(model: nn.Module) -> Expected:
    """Return the size and type that every stored tensor must have."""
    expected: Expected = {}
    for name, layer in model.named_modules():
        kind = kind_of(layer)
        if kind is not None:
            expected |= {f"{name}.{part}": value for part, value in kind.expected(layer).items()}
    return expected


def _check(tensors: Mapping[str, Tensor], expected: Expected) -> None:
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
