"""The self-test of `bnnkit doctor`: every kernel variant this processor can run, against `bnnkit.reference`.

Layers of small random shapes are computed by the packed kernels and by the reference; the seed is fixed, so that two
machines test the same. The kernels' own tests are far wider: this one answers whether an installation works here.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bnnkit import nn, ops, reference
from bnnkit.cim import Array, Chip, parse_cell

CASES = 6
# A wrong code moves a converted value by at least a converter step, which is over 1 for every array tested here;
# what remains between float32 and the reference's double precision is far below.
FORWARD_TOLERANCE = 1e-2
GRADIENT_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Outcome:
    """What one variant of one kernel did; `detail` says what went wrong and is empty when it passed."""

    kernel: str
    variant: str
    cases: int
    passed: bool
    detail: str


def run_selftest() -> list[Outcome]:
    """Run every kernel in every usable variant, leaving out the variants that a kernel does not have."""
    outcomes = []
    for variant in ops.usable_variants():
        with ops.variant(variant):
            for kernel, check in CHECKS.items():
                detail = _first_failure(check)
                if ops.last_variant(kernel) == variant:
                    outcomes.append(Outcome(kernel, variant, CASES, not detail, detail))
    return outcomes


def _first_failure(check: Callable[[random.Random], str]) -> str:
    for seed in range(CASES):
        torch.manual_seed(seed)
        detail = check(random.Random(seed))
        if detail:
            return f"case {seed}: {detail}"
    return ""


def _random_layer(choose: random.Random, bits: tuple[float, ...], adc: bool) -> tuple[nn.CimConv2d, Tensor]:
    kernel, groups, rows = choose.choice((1, 2, 3)), choose.choice((1, 1, 2)), choose.choice((27, 64, 128, 300))
    layer = nn.CimConv2d(
        groups * choose.randint(1, 40),
        groups * choose.randint(1, 20),
        kernel,
        stride=choose.choice((1, 2)),
        padding=choose.randint(0, kernel // 2),
        dilation=choose.choice((1, 2)),
        groups=groups,
        bias=False,
        ao_bit=choose.choice(bits),
        w_bit=choose.choice(bits),
        adc_bit=choose.choice((1, 2, 3, 4)) if adc else "fp",
        array=Array(rows, choose.choice(("channel", "tap"))),
    )
    return layer, 2 * torch.rand(choose.randint(1, 2), layer.in_channels, choose.randint(5, 9), 7) - 1


def _check_xnor(choose: random.Random) -> str:
    layer, x = _random_layer(choose, bits=(1,), adc=False)
    return _difference(*_both(layer, x), tolerance=0.0)


def _check_adc(choose: random.Random) -> str:
    layer, x = _random_layer(choose, bits=(1, 1.5, 2, 3, 4), adc=True)
    return _difference(*_both(layer, x), tolerance=FORWARD_TOLERANCE)


def _check_adc_backward(choose: random.Random) -> str:
    layer, x = _random_layer(choose, bits=(1, 1.5, 2, 3, 4), adc=True)
    gradients = []
    for backend in BACKENDS:
        inputs = x.clone().requires_grad_()
        with nn.backend(backend):
            y = layer(inputs)
        weights = torch.cos(torch.arange(y.numel(), dtype=torch.float32)).view_as(y)
        gradients.append(torch.autograd.grad((y * weights).sum(), [inputs, layer.weight]))
    for got, expected in zip(*gradients, strict=True):
        detail = _difference(got, expected, tolerance=GRADIENT_TOLERANCE * float(expected.abs().max()))
        if detail:
            return detail
    return ""


def _check_bit_serial(choose: random.Random) -> str:
    layer = nn.BitSerialConv2d(
        choose.randint(1, 70),
        choose.randint(1, 40),
        choose.choice((1, 3)),
        padding=choose.randint(0, 1),
        ao_bit=choose.randint(2, 4),
        w_bit=choose.randint(2, 4),
        weight_quant=choose.choice(("sawb", "dorefa")),
    ).eval()
    chip = Chip(
        rows=choose.choice((32, 128)),
        mapping=choose.choice(("channel", "tap")),
        cell_bit=choose.choice((1, 2)),
        adc_bit=choose.choice((4, 6)),
        cell=parse_cell(choose.choice(("ideal", "rram:sigma=0.05"))),
    )
    layer.program(chip, "full", 0)
    x = 12 * torch.rand(choose.randint(1, 2), layer.in_channels, choose.randint(3, 6), 5)
    results = []
    for backend in BACKENDS:
        with nn.backend(backend), torch.no_grad():
            results.append(layer(x))
    return _difference(results[0], results[1], tolerance=0.0)


def _check_bitplane(choose: random.Random) -> str:
    bits, cell_bit = choose.randint(1, 8), choose.randint(1, 4)
    weights = torch.randint(0, 2**bits, (choose.randint(1, 9), choose.randint(1, 90)))
    slices = ops.slice_weights(weights.int(), bits, cell_bit)
    detail = _difference(slices, reference.slice_weights(weights, bits, cell_bit), tolerance=0.0)
    return detail or _difference(ops.merge_slices(slices, cell_bit), weights.int(), tolerance=0.0)


BACKENDS: tuple[nn.Backend, nn.Backend] = ("packed", "reference")

# Bits that pack got wrong would be wrong in a product, so it is checked by one that packs multi-bit values.
CHECKS: dict[str, Callable[[random.Random], str]] = {
    "pack": _check_adc,
    "xnor": _check_xnor,
    "adc": _check_adc,
    "adc_backward": _check_adc_backward,
    "bitplane": _check_bitplane,
    "bit_serial": _check_bit_serial,
}


def _both(layer: nn.CimConv2d, x: Tensor) -> tuple[Tensor, Tensor]:
    results = []
    for backend in BACKENDS:
        with nn.backend(backend), torch.no_grad():
            results.append(layer(x))
    return results[0], results[1]


def _difference(got: Tensor, expected: Tensor, *, tolerance: float) -> str:
    if got.shape != expected.shape:
        return f"shape {tuple(got.shape)} instead of {tuple(expected.shape)}"
    wrong = (got.double() - expected.double()).abs() > tolerance
    if not bool(wrong.any()):
        return ""
    where = tuple(int(i) for i in wrong.nonzero()[0])
    return f"{int(wrong.sum())} of {wrong.numel()} values differ, first {got[where]:g} instead of {expected[where]:g}"
