"""TorchInference_RRAM's own code answered these; bnnkit must answer the same.

The origin sums float32 currents before its converter rounds, bnnkit sums integers. Where a partial sum lies halfway
between two levels the origin's answer depends on the order of its additions: the share of such outputs is bounded, and
every other one must agree.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bnnkit import ops, reference
from bnnkit.cim import Chip
from bnnkit.errors import MissingError
from bnnkit.nn import BitSerialConv2d, backend
from bnnkit.quantizers.pact import Pact
from bnnkit.quantizers.weights import DoReFa, Sawb

FEW = 1e-3
"""Share of elements that may differ where the origin's rounding decides."""

CASES = range(3)


def _golden(folder: Path, file: str) -> Callable[[str], Tensor]:
    archive = np.load(folder / file)
    return lambda name: torch.from_numpy(archive[name])


@pytest.fixture(scope="module")
def quantizers(shared_golden: Path) -> Callable[[str], Tensor]:
    return _golden(shared_golden, "rram_quantizers.npz")


@pytest.mark.parametrize("bits", [4, 8])
def test_sawb(quantizers: Callable[[str], Tensor], bits: int) -> None:
    w = quantizers("w")
    integers, unit = Sawb(bits).integers(w)
    want = quantizers(f"sawb_{bits}bit_int")
    assert len(want.unique()) > bits
    assert torch.equal(integers, want)
    assert torch.allclose(unit, quantizers(f"sawb_{bits}bit_scale"), rtol=1e-6, atol=0)
    assert torch.allclose(Sawb(bits)(w), want / quantizers(f"sawb_{bits}bit_scale"), rtol=1e-6, atol=0)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_dorefa(quantizers: Callable[[str], Tensor], bits: int) -> None:
    w = quantizers("w")
    codes = quantizers(f"dorefa_{bits}bit_int")
    assert torch.equal(reference.dorefa_code(w, bits), codes)
    integers, _ = DoReFa(bits).integers(w)
    assert torch.equal(integers, 2 * codes - (2**bits - 1))
    assert torch.allclose(DoReFa(bits)(w), quantizers(f"dorefa_{bits}bit"), atol=1e-6, rtol=0)


def _pact(golden: Callable[[str], Tensor], bits: int, *, origin_gradient: bool) -> tuple[Pact, Tensor, Tensor]:
    """Return the quantizer after a backward pass, its output and the gradient of its input."""
    pact = Pact(bits, origin_gradient=origin_gradient)
    with torch.no_grad():
        pact.alpha.copy_(golden(f"pact_{bits}bit_alpha"))
    x = golden("pact_x").requires_grad_()
    y = pact(x)
    y.backward(golden(f"pact_{bits}bit_gy"))
    assert x.grad is not None
    return pact, y.detach(), x.grad


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_pact(quantizers: Callable[[str], Tensor], bits: int) -> None:
    pact, y, gx = _pact(quantizers, bits, origin_gradient=True)
    # The origin relies on a ReLU in front and rounds negative inputs too: their values have no counterpart.
    positive = quantizers("pact_x") >= 0
    assert 0 < positive.sum() < positive.numel()
    assert torch.equal(y[positive], quantizers(f"pact_{bits}bit_y")[positive])
    assert (y[~positive] == 0).all()
    assert torch.equal(gx, quantizers(f"pact_{bits}bit_gx"))
    want = quantizers(f"pact_{bits}bit_galpha").reshape(())
    assert want != 0
    assert pact.alpha.grad is not None
    assert torch.allclose(pact.alpha.grad, want, rtol=1e-5, atol=0)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_the_range_learns_half_as_fast_as_in_the_origin(quantizers: Callable[[str], Tensor], bits: int) -> None:
    twice, y_twice, gx_twice = _pact(quantizers, bits, origin_gradient=True)
    once, y, gx = _pact(quantizers, bits, origin_gradient=False)
    assert once.alpha.grad is not None and twice.alpha.grad is not None
    assert torch.equal(2 * once.alpha.grad, twice.alpha.grad)
    assert torch.equal(y, y_twice) and torch.equal(gx, gx_twice)


@pytest.mark.parametrize("bits", [3, 4, 5, 6, 8])
def test_converters_between_smallest_and_largest(quantizers: Callable[[str], Tensor], bits: int) -> None:
    sums, want = quantizers("adc_in"), quantizers(f"adc_minmax_{bits}bit")
    assert len(want.unique()) > 2**bits / 2
    wrong = (reference.batch_converter(sums.double(), bits) - want).abs() > 1e-4
    assert wrong.double().mean() < FEW


def _case(folder: Path, index: int) -> tuple[BitSerialConv2d, dict[str, Any], Callable[[str], Tensor]]:
    golden = _golden(folder, "rram_conv.npz")
    case = json.loads(str(np.load(folder / "rram_conv.npz")["cases"]))[index]
    layer = BitSerialConv2d(
        case["in_channels"], case["out_channels"], 3, padding=1, ao_bit=case["a_bit"], w_bit=case["w_bit"]
    ).eval()
    assert layer.activation is not None
    with torch.no_grad():
        layer.weight.copy_(golden(f"{index}_w"))
        layer.activation.alpha.fill_(case["alpha"])
    return layer, case, lambda name: golden(f"{index}_{name}")


def _chip(case: dict[str, Any], adc_bit: Any = None) -> Chip:
    bits = case["adc_bit"] if adc_bit is None else adc_bit
    chip = Chip(rows=case["rows"], cell_bit=case["cell_bit"], adc_bit=bits)
    assert (chip.cell.hrs, chip.cell.lrs) == pytest.approx((1e6 * case["hrs"], 1e6 * case["lrs"]))
    return chip


def _share_wrong(got: Tensor, want: Tensor) -> float:
    assert got.shape == want.shape
    return float(((got - want).abs() > 1e-4 * want.abs().max()).double().mean())


@pytest.mark.parametrize("index", CASES)
def test_convolutions_in_software(shared_golden: Path, index: int) -> None:
    layer, _, golden = _case(shared_golden, index)
    with torch.no_grad():
        assert _share_wrong(layer(golden("x")), golden("y_digital")) == 0
        assert _share_wrong(layer.train()(golden("x")), golden("y_digital")) == 0


@pytest.mark.parametrize("index", CASES)
def test_convolutions_on_a_chip(shared_golden: Path, index: int) -> None:
    layer, case, golden = _case(shared_golden, index)
    layer.program(_chip(case), "batch", 0)
    with torch.no_grad():
        y = layer(golden("x"))
    assert _share_wrong(y, golden("y")) < FEW
    assert _share_wrong(golden("y_digital"), golden("y")) > 0.5, "the converters change the result"


@pytest.mark.parametrize("name", ["auto", "reference"])
@pytest.mark.parametrize("index", CASES)
def test_exact_partial_sums_give_the_software_result(shared_golden: Path, index: int, name: Any) -> None:
    if name == "auto":
        try:
            ops.load()
        except MissingError as missing:
            pytest.skip(str(missing))
    layer, case, golden = _case(shared_golden, index)
    with torch.no_grad(), backend(name):
        software = layer(golden("x"))
        layer.program(_chip(case, "fp"), "full", 0)
        y = layer(golden("x"))
    assert torch.allclose(y, software, rtol=1e-6, atol=1e-6)
    assert _share_wrong(y, golden("y_digital")) == 0
