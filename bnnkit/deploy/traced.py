"""Networks that no plan is written for: read by `torch.fx`, whatever their class."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from bnnkit.cim import Array
from bnnkit.deploy.builder import Builder
from bnnkit.deploy.geometry import Shape
from bnnkit.deploy.graph import read_graph
from bnnkit.deploy.stages import emit, plan
from bnnkit.deploy.vocabulary import VOCABULARY
from bnnkit.deploy.weights import PackedWeights, check_low_bit, stored_tensors
from bnnkit.errors import UsageError
from bnnkit.nn import CimConv2d, CimLinear, set_adc

ARRAY = ("rows", "mapping", "channels_per_array")
"""Options of arrays that can be changed when a network is packed already."""


def trace(network: nn.Module, build: Builder) -> None:
    """Add the steps of a network, whatever its class: the plan of networks that have none.

    Raises:
        UsageError: it does something that no step can; the operation is named.
    """
    emit(plan(read_graph(network, tuple(build.weights.config["in_shape"]), VOCABULARY)), build)


def why_not_traced(network: nn.Module, in_shape: Shape) -> str | None:
    """Return why a network cannot be traced, or None if it can."""
    try:
        plan(read_graph(network, in_shape, VOCABULARY))
    except UsageError as failure:
        return failure.message
    return None


@dataclass(frozen=True)
class TracedWeights(PackedWeights):
    """The parameters of a network that is no model of the registry.

    Attributes:
        config: name of its class, in_shape, classes.
        network: itself, in evaluation mode.
    """

    network: nn.Module = field(default_factory=nn.Module)

    def skeleton(self, **changes: Any) -> nn.Module:
        """Return the network with other arrays or converters; parameters are shared.

        Args:
            changes: adc_bit, rows, mapping, channels_per_array, for all layers on arrays.
        """
        unknown = [name for name in changes if name not in ("adc_bit", *ARRAY)]
        if unknown:
            raise UsageError(
                f"deploy: option '{unknown[0]}'; adc_bit, {', '.join(ARRAY)} can be changed", hint="leave it out"
            )
        network = copy.deepcopy(self.network, {id(p): p for p in self.network.parameters()})
        arrays = {name: changes[name] for name in ARRAY if name in changes}
        for layer in network.modules():
            if isinstance(layer, CimConv2d | CimLinear) and arrays:
                layer.array = _changed(layer.array, arrays)
                bits = layer.adc_bit
                if bits is not None:
                    layer.adc_bit = bits  # the range of its converter is that of the new rows
                layer.layout()
        if "adc_bit" in changes:
            set_adc(network, changes["adc_bit"])
        return network


def _changed(array: Array, changes: Mapping[str, Any]) -> Array:
    return replace(array, **changes)


def pack_traced(
    network: nn.Module, mean: Sequence[float], std: Sequence[float], in_shape: Sequence[int]
) -> TracedWeights:
    """Pack a network of any class, see `bnnkit.deploy.compile`.

    Raises:
        UsageError: an operand has no bits, or the shape does not fit the normalization.
    """
    name = type(network).__name__
    shape = _shape(in_shape, len(mean))
    own = copy.deepcopy(network).eval().requires_grad_(False).cpu()
    check_low_bit(own, name)
    [*_, last] = read_graph(own, shape, VOCABULARY)
    config = {"name": name, "in_shape": list(shape), "classes": last.shape[0]}
    return TracedWeights(config, tuple(mean), tuple(std), stored_tensors(own), network=own)


def _shape(in_shape: Sequence[int], channels: int) -> Shape:
    found = tuple(int(size) for size in in_shape)
    if len(found) != 3 or min(found) < 1 or found[0] != channels:
        raise UsageError(
            f"deploy: in_shape {found} with {channels} means; (channels, height, width) was needed, a mean per channel",
            hint="in_shape=(3, 32, 32)",
        )
    return found[0], found[1], found[2]
