"""Faulty bits of the memory that holds a layer's weights: where they are, and what they read as.

The bits of a layer are those of its packed file: plane after plane, in the weight's order. A word line of an array
holds the weights of one input for all outputs, a column those of one output and plane for all inputs of the array.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bnnkit.cim import Fault
from bnnkit.draws import Bits, chosen, normals, random_bits
from bnnkit.errors import UsageError
from bnnkit.nn import CimConv2d, CimLinear
from bnnkit.nn.standardized import standardize

Map: TypeAlias = tuple[int, int]
"""(seed, number) of a fault map."""

FLIPPED = 2
"""As what a bit reads, beside 0 and 1."""
READS = {"flip": FLIPPED, "burst": FLIPPED, "stuck0": 0, "stuck1": 1}
"""As what a bit reads, by the kind of fault."""

_WEIGHT, _LINE, _LATENT, _VALUES = 0x1FA11, 0x1FA12, 0x1FA13, 0x1FA14


@dataclass(frozen=True, eq=False)
class Sites:
    """Faulty bits of one layer in one fault map.

    Attributes:
        places: int64 [n], of the bits in the layer's memory, ascending.
        reads: uint8 [n], 0, 1 or `FLIPPED`.
        expected: how many there should be on average; None where nothing is expected.
    """

    places: npt.NDArray[np.int64]
    reads: Bits
    expected: float | None = None

    def apply(self, bits: Bits) -> int:
        """Make the bits read as they do in the faulty memory, in place; return how many of them changed."""
        stored = bits[self.places]
        read = np.where(self.reads == FLIPPED, stored ^ 1, self.reads).astype(np.uint8)
        bits[self.places] = read
        return int(np.count_nonzero(read != stored))


class Memory:
    """The weights of one layer on arrays, as bits.

    Args:
        layer: of the network, for its shape, quantizer and arrays.
        codes: uint8, its stored weight codes.
        codes_from: returns the codes of other latent weights [shape of the weight]; None where they are not known.
        latent: those weights.
    """

    def __init__(
        self,
        name: str,
        layer: CimConv2d | CimLinear,
        codes: Tensor,
        latent: Tensor | None = None,
        codes_from: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.name, self.layer, self.codes = name, layer, codes
        self.latent, self.codes_from = latent, codes_from
        self.planes: int = layer.weight_quantizer.planes
        self.outputs, self.inputs = layer.weight.shape[0], layer.weight[0].numel()
        self.key = zlib.crc32(name.encode())

    @property
    def reads_bits(self) -> bool:
        """Whether the layer lies on arrays; one that reads values adds them up with the signs of its weights."""
        return bool(self.layer.activation.planes)

    @property
    def size(self) -> int:
        """Bits in it."""
        return self.planes * self.outputs * self.inputs

    def bits(self) -> Bits:
        """Return a copy of the bits as stored, uint8 [size]."""
        return np.unpackbits(self.codes.numpy(), count=self.size, bitorder="little")

    def bits_of(self, site: str) -> int:
        """Return how many bits the codes of the layer's weights, activations or converters have."""
        adc = self.layer.adc
        conversions = 0 if adc is None else (len(adc.levels) - 1).bit_length()
        return {"weight": self.planes, "activation": self.layer.activation.planes, "adc": conversions}[site]

    def check_bit(self, fault: Fault) -> None:
        """Refuse a fault in a bit that the layer's codes do not have.

        Raises:
            UsageError: as said.
        """
        if fault.bit is None:
            return
        bits = self.bits_of(fault.site)
        if fault.site == "adc" and fault.kind in ("stuck0", "stuck1"):
            raise UsageError(f"fault '{fault}': a stuck converter gives one code for ever", hint="leave bit out")
        if fault.bit >= bits:
            raise UsageError(
                f"fault '{fault}': layer {self.name} has {bits}-bit codes there; a bit from 0 to {bits - 1} was needed",
                hint="leave bit out",
            )

    def columns(self) -> tuple[int, npt.NDArray[np.int64]]:
        """Return the number of arrays, and for every input [inputs] the array it lies on."""
        layout = self.layer.layout()
        if layout is None:
            return 1, np.zeros(self.inputs, np.int64)
        taps = layout.kernel_h * layout.kernel_w
        chunk = np.arange(layout.channels)[:, None] // layout.channels_per_array
        tap = np.arange(taps)[None, :] * layout.chunks if layout.tap else 0
        arrays = np.broadcast_to(chunk + tap, (layout.channels, taps))
        return layout.arrays, arrays.reshape(-1).astype(np.int64)

    def sites(self, fault: Fault, key: Map) -> Sites:
        """Return what is faulty in one map.

        Raises:
            UsageError: the layer's weights have no such bit, or its latent weights are not known.
        """
        if fault.site == "latent":
            return self._noise(fault, key)
        places = self._on_lines(fault, key) if fault.site == "line" else self._places(fault, key)
        found = np.flatnonzero(places)
        if fault.kind == "random":
            drawn = random_bits(self.size, *key, _VALUES, torch.tensor([self.key]))[0]
            reads = drawn[found]
        else:
            reads = np.full(len(found), READS[fault.kind], np.uint8)
        return Sites(found, reads, self._expected(fault))

    def _places(self, fault: Fault, key: Map) -> Bits:
        keys = (*key, _WEIGHT, torch.tensor([self.key]))
        if fault.kind == "burst":
            starts = np.flatnonzero(chosen(fault.amount / fault.length, self.size, *keys)[0])
            hit = np.zeros(self.size + fault.length, np.uint8)
            hit[(starts[:, None] + np.arange(fault.length)).reshape(-1)] = 1
            places = hit[: self.size]
        else:
            places = chosen(fault.amount, self.size, *keys)[0]
        if fault.bit is not None:
            plane = self.size // self.planes
            places[: fault.bit * plane] = places[(fault.bit + 1) * plane :] = 0
        return places

    def _on_lines(self, fault: Fault, key: Map) -> Bits:
        keys = (*key, _LINE, torch.tensor([self.key]))
        shape = (self.planes, self.outputs, self.inputs)
        if fault.option("axis") == "column":
            arrays, array_of = self.columns()
            hit = chosen(fault.amount, self.planes * self.outputs * arrays, *keys)[0]
            places = hit.reshape(self.planes, self.outputs, arrays)[:, :, array_of]
        else:
            places = np.broadcast_to(chosen(fault.amount, self.inputs, *keys)[0], shape)
        on_lines: Bits = places.reshape(-1)
        return on_lines

    def _noise(self, fault: Fault, key: Map) -> Sites:
        if self.latent is None or self.codes_from is None:
            raise UsageError(
                f"fault '{fault}': the network has no latent weights; a packed file holds their bits only",
                hint="give the checkpoint or the run it was packed from with --model",
            )
        drawn = normals(self.latent.numel(), *key, _LATENT, torch.tensor([self.key]))[0]
        noise = torch.from_numpy(drawn).view(self.latent.shape)
        latent = self.latent.double()
        noisy = latent * torch.exp(fault.std * noise) if fault.kind == "lognormal" else latent + fault.std * noise
        codes = self.codes_from(_standardized(noisy, fault.option("ws")).float()).numpy()
        changed = np.flatnonzero(np.unpackbits(codes ^ self.codes.numpy(), count=self.size, bitorder="little"))
        return Sites(changed, np.full(len(changed), FLIPPED, np.uint8))

    def _expected(self, fault: Fault) -> float:
        bits = self.size if fault.bit is None else self.size // self.planes
        if fault.kind != "burst":
            return fault.amount * bits
        # A bit is spared where none of the last bits, as many as a burst is long, begins one.
        spared, length = 1 - fault.amount / fault.length, fault.length
        within = sum(1 - spared**count for count in range(1, min(length, bits) + 1))
        return within + max(0, bits - length) * (1 - spared**length)


def _standardized(weight: Tensor, over: str | None) -> Tensor:
    """Return (w - mean) / std / sqrt(n) over all n weights of a layer or of an output; None: as they are."""
    if over is None:
        return weight
    if over == "output":
        return standardize(weight)
    std, mean = torch.std_mean(weight)
    result: Tensor = (weight - mean) / std * weight.numel() ** -0.5
    return result


def packed(bits: Bits) -> Tensor:
    """Return bits as stored codes, uint8 [ceil(n / 8)]."""
    return torch.from_numpy(np.packbits(bits, bitorder="little"))
