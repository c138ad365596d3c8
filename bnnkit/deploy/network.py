"""A packed network as a torch module, from stored images to logits."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from bnnkit.deploy import description
from bnnkit.deploy.builder import Builder, Parts
from bnnkit.deploy.description import Description
from bnnkit.deploy.faulty import Hits, LayerFaults
from bnnkit.deploy.operations import Operations
from bnnkit.deploy.plans import PLANS, Plan
from bnnkit.deploy.traced import TracedWeights, pack_traced, trace, why_not_traced
from bnnkit.deploy.weights import PackedWeights, is_as_configured, pack_model, why_not_layers
from bnnkit.errors import UsageError
from bnnkit.models import Model
from bnnkit.nn import Gates, gated_layers
from bnnkit.ops import extension


class PackedNetwork(nn.Module):
    """Run a packed network on the CPU.

    Each thread takes a few images at a time through all layers. Between layers travel bits; normalization, Hardtanh
    and quantization are thresholds on integer sums wherever nothing else reads the values. The logits are those of the
    torch modules in `bnnkit.train.evaluate`, bit for bit, whatever the batch size, threads and kernel variant.

    Args:
        weights: parameters, architecture and normalization of the images.
        changes: options of arrays and converters that differ from `weights.config` (adc_bit, rows, mapping,
            channels_per_array).
        gate_skips: count the low bits of activations only where one of a few neighbouring precision gates is open. It
            changes no result, and was slower than counting them always wherever it was measured (docs/fracbnn.md).

    Attributes:
        steps: of the compiled module, in the order in which they run; networks may share them.

    Shape: uint8 [N, *in_shape], images as stored -> float32 [N, classes].

    Raises:
        UsageError: the network with these options cannot be packed.
        MissingError: the compiled extension is missing.

    >>> from bnnkit import create_model
    >>> packed = compile(create_model("mlp", in_shape=(1, 8, 8)).eval(), (0.5,), (0.25,))
    >>> packed(torch.zeros(3, 1, 8, 8, dtype=torch.uint8)).shape
    torch.Size([3, 10])
    """

    def __init__(
        self,
        weights: PackedWeights,
        changes: dict[str, Any] | None = None,
        parts: Parts | None = None,
        *,
        gate_skips: bool = False,
    ) -> None:
        super().__init__()
        self.weights = weights
        self.changes = dict(changes or {})
        skeleton = weights.skeleton(**self.changes)
        reason = why_not_layers(skeleton)
        if reason is not None:
            raise UsageError(
                f"deploy: {weights.config['name']} cannot be packed: {reason}",
                hint="eval runs it in torch",
            )
        self._is_gated = bool(gated_layers(skeleton))
        self.config = skeleton.config if isinstance(skeleton, Model) else {**weights.config, **self.changes}
        self._parts = Parts() if parts is None else parts
        self._gate_skips = gate_skips
        native = extension.load()
        build = Builder(skeleton, weights, self._parts, gate_skips=gate_skips, native=native)
        _plan_of(weights)(skeleton, build)
        self._network = native.Network(build.steps)
        self.steps = build.steps
        self._remakes = build.remakes
        self._codes: dict[str, Tensor] = {}
        self._faults: dict[str, LayerFaults] = {}
        self.eval()

    def forward(self, images: Tensor, indices: Tensor | None = None) -> Tensor:
        """Return the logits of uint8 images; `indices` as in `run_together`."""
        logits: Tensor = run_together([self], images, indices)[0]
        return logits

    def with_options(self, **changes: Any) -> PackedNetwork:
        """Return the network with other arrays or converters; weights are arranged anew only for another layout.

        Raises:
            UsageError: this network has faults, which were made for its arrays.
        """
        if self._codes or self._faults:
            raise UsageError("deploy: a network with faults has no other options", hint="choose the options first")
        return PackedNetwork(self.weights, {**self.changes, **changes}, self._parts, gate_skips=self._gate_skips)

    def with_faults(
        self, codes: Mapping[str, Tensor] | None = None, layers: Mapping[str, LayerFaults] | None = None
    ) -> PackedNetwork:
        """Return this network with other weight bits, and with faults where it computes.

        Only the named layers are made anew. The others are the same, so `run_together` computes what comes before the
        first of them once. This network stays as it is; faults it has itself are kept in layers that are not named.

        Args:
            codes: weight bits by layer, uint8 as in `weights.tensors["<layer>.codes"]`.
            layers: faults by layer, see `bnnkit.deploy.faulty`.

        Raises:
            UsageError: no layer of that name has weight bits; bits of another size; a layer without such a bit or
                without converters.

        >>> from bnnkit import create_model
        >>> packed = compile(create_model("mlp", in_shape=(1, 8, 8)).eval(), (0.5,), (0.25,))
        >>> faulty = packed.with_faults(codes={"hidden.0": 255 - packed.weights.tensors["hidden.0.codes"]})
        >>> run_together([packed, faulty], torch.zeros(3, 1, 8, 8, dtype=torch.uint8)).shape
        torch.Size([2, 3, 10])
        """
        codes, layers = dict(codes or {}), dict(layers or {})
        for name in (*codes, *layers):
            if name not in self._remakes:
                raise UsageError(
                    f"faults: '{name}' is no layer with weight bits; {', '.join(list(self._remakes)[:3])} are",
                    hint="choose among the layers with .codes",
                )
        for name, bits in codes.items():
            now = self.weights.tensors[f"{name}.codes"]
            if bits.shape != now.shape or bits.dtype != now.dtype:
                raise UsageError(
                    f"layer {name}: codes {list(bits.shape)} {bits.dtype}; {list(now.shape)} {now.dtype} was needed",
                    hint="change a copy of its codes",
                )
        faulty = copy.copy(self)
        faulty._codes, faulty._faults = {**self._codes, **codes}, {**self._faults, **layers}
        named = {**codes, **layers}
        faulty.steps = [
            self._remakes[step.name](faulty._codes.get(step.name), faulty._faults.get(step.name, LayerFaults()))
            if step.name in named
            else step
            for step in self.steps
        ]
        faulty.weights = replace(
            self.weights, tensors={**self.weights.tensors, **{f"{name}.codes": bits for name, bits in codes.items()}}
        )
        faulty._network = extension.load().Network(faulty.steps)
        return faulty

    def describe(self) -> Description:
        """Return the steps as plain data: everything that decides the logits, as numbers.

        Raises:
            UsageError: this network has faults in activations or converters, which are no part of a description.

        >>> from bnnkit import create_model
        >>> packed = compile(create_model("mlp", in_shape=(1, 8, 8)).eval(), (0.5,), (0.25,))
        >>> [step.name for step in packed.describe().steps]
        ['images', 'hidden.0', 'hidden.1', 'hidden.2', 'classifier']
        """
        if self._faults:
            raise UsageError("deploy: a network with faults cannot be described", hint="describe it without faults")
        return self.describe_without_faults()

    def describe_without_faults(self) -> Description:
        """Return the steps as `describe` does, whatever `faults` there are where they compute."""
        skeleton = self.weights.skeleton(**self.changes)
        build = Builder(skeleton, self.weights, Parts(), gate_skips=False, native=description)
        _plan_of(self.weights)(skeleton, build)
        channels, height, width = self.config["in_shape"]
        return Description(self.config, (channels, height, width), self.config["classes"], tuple(build.steps))

    @property
    def faults(self) -> Mapping[str, LayerFaults]:
        """Faults where it computes, by layer; those of weights are in `weights`."""
        return self._faults

    @property
    def binary_products(self) -> dict[str, int]:
        """Products of two codes per image, by layer; 0 for steps in full precision."""
        return {step.name: step.products for step in self.steps}

    def take_gates(self) -> Gates | None:
        """Return what the precision gates did since the last call, and start anew; None without gated layers."""
        if not self._is_gated:
            return None
        counted = [step.take_gates() for step in self.steps]
        return Gates(sum(opened for opened, _ in counted), sum(outputs for _, outputs in counted))

    def take_hits(self) -> tuple[Hits, Hits]:
        """Return what faults did since the last call, and start anew: to the bits that layers read, and to codes."""
        counted = [step.take_hits() for step in self.steps]
        read, codes = (Hits(*map(sum, zip(*some, strict=True))) for some in zip(*counted, strict=True))
        return read, codes

    def operations(self) -> dict[str, Operations]:
        """Return what a chip would do for one image, by step, as the steps themselves count it; gates as if open."""
        return {step.name: Operations.of(step.operations) for step in self.steps}

    @property
    def workspace_bytes(self) -> int:
        """Memory the threads have worked in so far."""
        return int(self._network.bytes)

    def take_profile(self) -> list[tuple[str, float]]:
        """Return the seconds spent in each layer since the last call, summed over threads."""
        return [(name, nanoseconds / 1e9) for name, nanoseconds in self._network.take_profile()]

    def extra_repr(self) -> str:
        shown = ("name", "width", "ao_bit", "w_bit", "adc_bit")
        return ", ".join(f"{key}={self.config[key]}" for key in shown if key in self.config)


def compile(
    model: nn.Module, mean: Sequence[float], std: Sequence[float], *, in_shape: Sequence[int] | None = None
) -> PackedNetwork:
    """Pack a trained network and make it ready to run; see `PackedNetwork`.

    A network that is no model of bnnkit (see `bnnkit.convert`), or one with converters or quantizers that were put in
    afterwards, is traced; docs/convert.md lists what can run packed.

    Args:
        mean, std: normalization of the images, per input channel.
        in_shape: (channels, height, width) of the images; models of bnnkit know it.

    Raises:
        UsageError: a layer or an operation that cannot run packed; it is named.

    >>> from torch import nn
    >>> from bnnkit.nn import convert
    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(64, 40), nn.Hardtanh(), nn.Linear(40, 40), nn.Linear(40, 10))
    >>> packed = compile(convert(net), (0.5,), (0.25,), in_shape=(1, 8, 8))
    >>> packed(torch.zeros(3, 1, 8, 8, dtype=torch.uint8)).shape
    torch.Size([3, 10])
    """
    if isinstance(model, Model):
        known = model.settings.in_shape
        if in_shape is not None and tuple(in_shape) != known:
            raise UsageError(f"deploy: in_shape {tuple(in_shape)}; the model's is {known}", hint="leave in_shape out")
        if is_as_configured(model):
            return PackedNetwork(pack_model(model, mean, std))
        in_shape = known  # its options do not say what its layers compute
    if in_shape is None:
        raise UsageError(
            f"deploy: {type(model).__name__} is no model of bnnkit; the shape of its images was needed",
            hint="in_shape=(channels, height, width)",
        )
    return PackedNetwork(pack_traced(model, mean, std, in_shape))


def why_not(model: nn.Module) -> str | None:
    """Return why a network with the converters it has cannot run packed, or None if it can."""
    reason = why_not_layers(model)
    if reason is None and isinstance(model, Model) and model.settings.name not in PLANS:
        reason = why_not_traced(model, model.settings.in_shape)
    return reason


def _plan_of(weights: PackedWeights) -> Plan:
    """Return how the steps of a network are found: as written for its architecture, else by tracing it."""
    is_traced = isinstance(weights, TracedWeights) or weights.config["name"] not in PLANS
    return trace if is_traced else PLANS.get(weights.config["name"])


def run_together(networks: Sequence[PackedNetwork], images: Tensor, indices: Tensor | None = None) -> Tensor:
    """Run several networks over the same images: float32 [networks, N, classes].

    Layers at the beginning that the networks share (they come from each other by `with_options` or `with_faults`) are
    computed once.

    Args:
        images: uint8 [N, *in_shape].
        indices: int64 [N], the images' numbers within the data set, where faults depend on them; None: 0 to N-1.

    Raises:
        RuntimeError: images or indices of another shape or type, or networks with different classes.
    """
    numbers, classes = [n._network.number for n in networks], networks[0]._network.classes
    logits: Tensor = torch.ops.bnnkit.run_networks(
        numbers, images.contiguous(), classes, None if indices is None else indices.contiguous()
    )
    return logits
