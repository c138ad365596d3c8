"""Faults that a layer trains with: drawn anew in every step, seen by the forward pass, constants to the gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor

from bnnkit.cim.fault import BIT_KINDS, Fault
from bnnkit.draws import chosen, normals, random_bits
from bnnkit.errors import UsageError
from bnnkit.quantizers import Quantizer
from bnnkit.reference import with_slope

TRAINED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"weight": BIT_KINDS, "latent": ("gauss", "lognormal"), "activation": BIT_KINDS}
)
"""Kinds of faults that training knows, by site."""

_KEYS = {"weight": 0x7FA01, "latent": 0x7FA02, "activation": 0x7FA03}
_DRAWN_BITS = 0x7FA04

_READ: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "flip": torch.bitwise_xor,
    "stuck0": lambda stored, faulty: stored & (faulty ^ 1),
    "stuck1": torch.bitwise_or,
}
"""From stored bits and where they are faulty to the bits that are read; uint8."""


class Perturbation:
    """What is wrong with one layer while it trains.

        latent weights       w + std * n  (gauss)    or    w * exp(std * n)  (lognormal),    n standard normal
        stored bits          each bit of a code is faulty with the probability `amount`, each for itself

    A fault is an additive constant to the backward pass: what is read, v' = v + (v' - v).detach(), has the gradient
    that v would have. A latent weight therefore gets the gradient with respect to the weight that was read in its
    place, with its sign also where the weight's was flipped, times the slope of the quantizer at the latent weight.
    Activations likewise.

    Every number is a hash of (seed, step, site, layer, number of the fault, plane, row, element), rows being outputs of
    weights and images of activations: a training continued from a checkpoint draws what it would have drawn.

    Args:
        faults: of the sites in `TRAINED`, applied in their order.
        seed: of the training.
        layer: number of the layer in its network.

    Attributes:
        step: of the training; the caller moves it on.
        first_image: number of the first image shown, in its batch: a process may see only a part of that.

    Papers: Stutz et al., "Bit error robustness for energy-efficient DNN accelerators", MLSys 2021 (RandBET: weights);
    noise on latent weights as in the origin stevenokm/Tiny-Imagenet-binarized-training, there in the test only.

    >>> from bnnkit.cim.fault import parse_fault
    >>> from bnnkit.quantizers import make
    >>> faults = Perturbation([parse_fault("weight:stuck1@0.25")], seed=1, layer=0)
    >>> faults.read("weight", -torch.ones(100, 100), make(1)).gt(0).sum()
    tensor(2444)
    """

    def __init__(self, faults: Sequence[Fault], seed: int, layer: int) -> None:
        for fault in faults:
            check_trained(fault)
        present = [fault for fault in faults if fault.amount]
        self.faults = {site: [fault for fault in present if fault.site == site] for site in TRAINED}
        self.seed, self.layer, self.step, self.first_image = seed, layer, 0, 0

    def noisy(self, weight: Tensor) -> Tensor:
        """Return latent weights with noise, float32 of their shape, differentiable."""
        for number, fault in enumerate(self.faults["latent"]):
            drawn = normals(weight[0].numel(), *self._keys("latent", number), torch.arange(len(weight)))
            noise = torch.from_numpy(drawn).mul_(fault.std).view(weight.shape)
            if fault.kind == "lognormal":
                noise = noise.expm1_().to(weight.device).float() * weight.detach()
            weight = weight + noise.to(weight.device).float()
        return weight

    def read(self, site: str, x: Tensor, quantizer: Quantizer) -> Tensor:
        """Return the quantized `x` as it is read from where it is stored: float32, shape of `x`, differentiable.

        Args:
            site: "weight" or "activation".
            x: float32, outputs or images first.
            quantizer: with at least one plane; the result are values it leaves as they are.
        """
        planes = _planes(quantizer.code(x).to(torch.uint8), quantizer)
        code, *higher = (self._read_plane(site, plane, stored) for plane, stored in enumerate(planes))
        for plane, bits in enumerate(higher, start=1):
            code = code + (bits if quantizer.thermometer else bits << plane)
        value = code.float().mul_(2).sub_(quantizer.levels - 1).div_(quantizer.unit)
        slope = quantizer.slope(x)
        return with_slope(x, value, x.new_ones(()) if slope is None else slope)

    def _read_plane(self, site: str, plane: int, stored: Tensor) -> Tensor:
        first = self.first_image if site == "activation" else 0
        rows, count = torch.arange(first, first + len(stored)), stored[0].numel()
        for number, fault in enumerate(self.faults[site]):
            if fault.bit not in (None, plane):
                continue
            keys = self._keys(site, number)
            faulty = _like(chosen(fault.amount, count, *keys, plane, rows), stored)
            if fault.kind == "random":
                drawn = _like(random_bits(count, *keys, _DRAWN_BITS, plane, rows), stored)
                stored = stored ^ ((stored ^ drawn) & faulty)
            else:
                stored = _READ[fault.kind](stored, faulty)
        return stored

    def _keys(self, site: str, number: int) -> tuple[int, ...]:
        return self.seed, self.step, _KEYS[site], self.layer, number


def check_trained(fault: Fault) -> None:
    """Raise `UsageError` for a fault that training does not know."""
    kinds = TRAINED.get(fault.site, ())
    if fault.kind in kinds:
        return
    if kinds:
        needed = ", ".join(kinds)
        raise UsageError(
            f"fault '{fault}': training has no kind '{fault.kind}' of {fault.site}; one of {needed} was needed",
            hint=f"--fault {fault.site}:{kinds[0]}@{fault.amount:g}",
        )
    raise UsageError(
        f"fault '{fault}': training has no faults of the site {fault.site}; one of {', '.join(TRAINED)} was needed",
        hint="bnnkit inject puts every fault into a trained network",
    )


def _planes(code: Tensor, quantizer: Quantizer) -> list[Tensor]:
    """Return the bits of codes, least significant plane first, uint8 each of the shape of `code`."""
    if quantizer.planes == 1:
        return [code]
    planes = range(quantizer.planes)
    return [(code > p).to(torch.uint8) if quantizer.thermometer else code >> p & 1 for p in planes]


def _like(found: object, stored: Tensor) -> Tensor:
    return torch.as_tensor(found).view(stored.shape).to(stored.device)
