"""A trained network that is asked for its predictions over and over, with the faults of one map after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from bnnkit.cim import SITES, Fault
from bnnkit.data import Dataset, Split
from bnnkit.deploy import DeviceNetwork, PackedNetwork, PackedWeights, run_packed, skeleton, unpack_model, why_not
from bnnkit.deploy.stored import kind_of
from bnnkit.errors import UsageError
from bnnkit.faults import signals
from bnnkit.faults.cells import CellChips, is_bit_serial
from bnnkit.faults.settings import Setting
from bnnkit.faults.sites import Map, Memory, Sites, packed
from bnnkit.models import Model
from bnnkit.nn import Backend, CimConv2d, CimLinear, GatedConv2d
from bnnkit.nn import backend as use
from bnnkit.train.evaluation import evaluate
from bnnkit.train.subject import Subject

IN_MEMORY = ("latent", "line", "weight")
"""Sites whose faults are other weight bits, in the order they come about."""


@dataclass
class Hits:
    """Faults of one map, counted.

    Attributes:
        faulty: bits that are faulty.
        wrong: bits that are read otherwise than they were stored.
        expected: faulty bits on average, of those that are counted.
    """

    faulty: int = 0
    wrong: int = 0
    expected: float = 0.0

    def add(self, other: Hits) -> None:
        """Count those of another place, too."""
        self.faulty += other.faulty
        self.wrong += other.wrong
        self.expected += other.expected


@dataclass(eq=False)
class Faulty:
    """A network as one fault map leaves it; without faults, the golden one.

    Attributes:
        network: packed, or to be run layer by layer.
        hits: in its memory.
        sites: of its memory, by layer, in the order of `Setting.faults`.
    """

    network: nn.Module
    hits: Hits = field(default_factory=Hits)
    sites: dict[str, list[Sites]] = field(default_factory=dict)


class Network:
    """Build or pack the network once; what a fault map changes is all that is made anew for it.

    Args:
        changes: options of arrays and converters that differ from the checkpoint's.
        backend: "auto" (packed where possible), "packed", "torch" or "reference".
        dataset: images that the converters of bit-serial networks are calibrated with.
        device: where it runs; on a GPU without faults in converters and partial sums.

    Attributes:
        changes: as given.
        device: where it runs.
        computed: in words, what computes it.
        not_packed: why "auto" did not pack it; None where it did.
        memories: the layers with low-bit weights, by name.
        golden: the network without faults.

    Raises:
        UsageError: impossible options, or "packed" where that cannot be.
    """

    def __init__(
        self,
        subject: Subject,
        changes: Mapping[str, Any],
        backend: str = "auto",
        dataset: Dataset | None = None,
        device: str = "cpu",
    ) -> None:
        self._subject, self.changes, self.device = subject, dict(changes), torch.device(device)
        self._preparation = subject.preparation
        self._backend = cast("Backend", backend)
        self.not_packed: str | None = None
        self._weights: PackedWeights | None = None
        self._cells: CellChips | None = None
        self.memories: dict[str, Memory] = {}
        self.golden: nn.Module
        if is_bit_serial(subject):
            if backend == "packed":
                raise UsageError("--backend packed: bit-serial networks run layer by layer", hint="use --backend auto")
            if self.device.type != "cpu":
                raise UsageError(f"--device {device}: bit-serial networks run on a processor", hint="--device cpu")
            self._cells = CellChips(subject, changes, dataset)
            self.not_packed, self.computed = "bit-serial networks run layer by layer", self._cells.computed
            self.golden = self._cells.model
            return
        empty = skeleton({**subject.checkpoint.config, **changes})
        self.not_packed = None if backend in ("torch", "reference") else why_not(empty)
        if backend == "packed" and self.not_packed is not None:
            raise UsageError(f"--backend packed: {self.not_packed}", hint="use --backend auto")
        if _has_low_bit_weights(empty):
            self._weights = subject.packed_weights()
            self.memories = _memories(self._weights, empty)
        if backend in ("auto", "packed") and self.not_packed is None:
            assert self._weights is not None
            packed_network = PackedNetwork(self._weights, self.changes)
            on_processor = self.device.type == "cpu"
            self.golden = packed_network if on_processor else DeviceNetwork(packed_network, self.device)
            self.computed = "packed"
            return
        with use(self._backend):
            self.golden = subject.model(changes).to(self.device)
        self.computed = "layer by layer" if backend == "auto" else backend

    @property
    def is_packed(self) -> bool:
        """Whether it runs packed, with all its fault maps."""
        return isinstance(self.golden, PackedNetwork | DeviceNetwork)

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that can have faults."""
        return tuple(self.memories) if self._cells is None else self._cells.layers

    def bits(self, fault: Fault) -> int:
        """Return how many bits the codes at a site have, in the layer with the most."""
        if "bit" not in SITES.get(fault.site).keys:
            raise UsageError(f"--per-bit: {fault.site} has no numbered bits", hint="leave --per-bit out")
        return 8 if fault.site == "input" else max((m.bits_of(fault.site) for m in self.memories.values()), default=0)

    def check(self, settings: Sequence[Setting]) -> None:
        """Refuse faults at sites that the network does not have, or that this backend cannot have.

        Raises:
            UsageError: with what would help.
        """
        for setting in settings:
            for fault in setting.layer_faults:
                self._check(fault, setting.layers)
        for fault in {fault for setting in settings for fault in setting.faults if fault.site == "latent"}:
            self._read_latent(fault)

    def _check(self, fault: Fault, layers: Sequence[str]) -> None:
        if self._cells is not None:
            return self._cells.check(fault, layers)
        name = self._subject.checkpoint.config["name"]
        if fault.site == "cell":
            raise UsageError(
                f"fault '{fault}': {name} is no bit-serial network; each of its weight bits is one cell",
                hint="--fault weight:stuck0@0.01",
            )
        if fault.site not in (*IN_MEMORY, *signals.SITES):
            raise UsageError(f"fault '{fault}': nothing acts on {fault.site} in layers", hint="bnnkit inject --sites")
        if not self.memories:
            raise UsageError(f"fault '{fault}': {name} has no low-bit weights", hint="give a network with --w-bit 1")
        if fault.site in signals.SITES and not self.is_packed:
            reason = self.not_packed or f"--backend {self._backend}"
            raise UsageError(f"fault '{fault}': computed in packed networks only; {reason}", hint="--backend packed")
        if fault.site in ("adc", "partial-sum") and self.device.type != "cpu":
            raise UsageError(f"fault '{fault}': on a processor only, not on {self.device}", hint="--device cpu")
        memories = [self.memories[layer] for layer in layers]
        if fault.site in signals.SITES:
            memories = [memory for memory in memories if memory.reads_bits]
            if not memories:
                raise UsageError(
                    f"fault '{fault}': layer {layers[0]} reads values, no bits", hint="--layers for others"
                )
        for memory in memories:
            memory.check_bit(fault)
            gated = isinstance(memory.layer, GatedConv2d)
            if fault.site in ("partial-sum", "adc") and (memory.layer.adc is None or gated):
                what = "is precision-gated" if gated else "has no converter"
                raise UsageError(
                    f"fault '{fault}': layer {memory.name} {what}", hint="--adc-bit 1, or --layers for others"
                )
        return None

    def _read_latent(self, fault: Fault) -> None:
        """Let the memories know the weights their bits come from."""
        if self._subject.is_packed:
            raise UsageError(
                f"fault '{fault}': {self._subject.path} is packed and holds no latent weights",
                hint="give the checkpoint or run it was packed from with --model",
            )
        model = self._subject.model({})
        for name, memory in self.memories.items():
            layer = model.get_submodule(name)
            assert isinstance(layer, CimConv2d | CimLinear)
            memory.latent, memory.codes_from = layer.weight.detach().clone(), _packer(layer)

    def faulty(self, setting: Setting, key: Map, recorded: Mapping[str, Sequence[Sites]] | None = None) -> Faulty:
        """Return the network with the faults of one map in its layers; those of images are not its business.

        Args:
            key: (seed, number of the map).
            recorded: the sites of its memory, instead of those that follow from the key.
        """
        faults = setting.layer_faults
        if not faults and recorded is None:
            return Faulty(self.golden)
        if self._cells is not None:
            return Faulty(self._cells.programmed(faults, key))
        codes, sites, hits = self._codes(setting, key, recorded)
        memories = [self.memories[name] for name in setting.layers if self.memories[name].reads_bits]
        layers = {memory.name: signals.layer_faults(memory, faults, key) for memory in memories}
        running = {name: layer for name, layer in layers.items() if layer is not None}
        if isinstance(self.golden, PackedNetwork | DeviceNetwork):
            return Faulty(self.golden.with_faults(codes, running), hits, sites)
        assert self._weights is not None
        tensors = {**self._weights.tensors, **{f"{name}.codes": bits for name, bits in codes.items()}}
        model = unpack_model(replace(self._weights, tensors=tensors), **self.changes)
        return Faulty(model.to(self.device), hits, sites)

    def _codes(
        self, setting: Setting, key: Map, recorded: Mapping[str, Sequence[Sites]] | None
    ) -> tuple[dict[str, Tensor], dict[str, list[Sites]], Hits]:
        faults = sorted((f for f in setting.layer_faults if f.site in IN_MEMORY), key=lambda f: IN_MEMORY.index(f.site))
        codes, found, hits = {}, {}, Hits()
        for name in setting.layers if recorded is None else recorded:
            memory = self.memories[name]
            sites = [memory.sites(fault, key) for fault in faults] if recorded is None else list(recorded[name])
            if not sites:
                continue
            bits = memory.bits()
            for some in sites:
                count = len(some.places)
                hits.add(Hits(count, some.apply(bits), count if some.expected is None else some.expected))
            codes[name], found[name] = packed(bits), sites
        return codes, found, hits

    def take_hits(self, network: Faulty, faults: Sequence[Fault]) -> Hits:
        """Return what faults of activations and codes did while a network ran; it is counted where it runs packed."""
        rates = {fault.site: fault.amount for fault in faults if fault.site in ("activation", "adc") and fault.is_rate}
        found = Hits()
        if isinstance(network.network, PackedNetwork | DeviceNetwork) and rates:
            for site, counted in zip(("activation", "adc"), network.network.take_hits(), strict=True):
                found.add(Hits(counted.faulty, counted.wrong, rates.get(site, 0.0) * counted.bits))
        return found

    def predict(self, networks: Sequence[Faulty], images: Tensor, indices: Tensor) -> list[Tensor]:
        """Return the predictions of several of them, int64 [N] each; -1 where a logit is not finite.

        Packed ones run together: layers before the first that differs are computed once.

        Args:
            images: as stored, uint8 [N, C, H, W], on the device.
            indices: int64 [N], their numbers in the dataset, which faults of activations and converters depend on.

        Raises:
            GateError: a kernel met NaN; the layer it comes from is named.
        """
        count, modules = len(images), [network.network for network in networks]
        if self.is_packed:
            together = cast("list[PackedNetwork]", modules)
            logits = run_packed(together, self._preparation.fit(images), indices).cpu()
            return list(torch.where(logits.isfinite().all(2), logits.argmax(2), -1))
        # Labels would only be counted.
        split, every = Split(images, torch.zeros(count, dtype=torch.int64)), torch.arange(count)
        with use(self._backend):
            return [evaluate(m, split, every, self._preparation, batch=count).predictions for m in modules]


def _has_low_bit_weights(model: Model) -> bool:
    layers = [layer for layer in model.modules() if isinstance(layer, CimConv2d | CimLinear)]
    return any(layer.weight_quantizer.planes and layer.activation.planes for layer in layers)


def _memories(weights: PackedWeights, empty: Model) -> dict[str, Memory]:
    found = {}
    for name, layer in empty.named_modules():
        if isinstance(layer, CimConv2d | CimLinear) and layer.weight_quantizer.planes:
            found[name] = Memory(name, layer, weights.tensors[f"{name}.codes"])
    return found


def _packer(layer: CimConv2d | CimLinear) -> Callable[[Tensor], Tensor]:
    kind = kind_of(layer)
    assert kind is not None

    @torch.no_grad()
    def codes_from(latent: Tensor) -> Tensor:
        stored = layer.weight.detach().clone()
        layer.weight.copy_(latent)
        codes = kind.pack(layer)["codes"]
        layer.weight.copy_(stored)
        return codes

    return codes_from
