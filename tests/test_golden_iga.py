"""BNN-IGA's own code answered these; bnnkit must answer the same.

bnnkit sums integers exactly. The origin sums float32 numbers such as 0.33333337 before it takes a floor, so where the
exact partial sum lies on a threshold the origin's answer depends on the order of its additions. Those elements are
found from the exact partial sums, and every other one must agree. A deep network amplifies a single rounding, so whole
networks are compared twice: with the origin's arithmetic in the layers (logits), and layer by layer with bnnkit's.
Logits of networks whose sums are rounded (`ROUNDED`) are those of one order of additions: a processor for which torch
adds in another order, found by one layer's golden answer, cannot repeat them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bnnkit import importers, reference
from bnnkit.cim import Adc, Array
from bnnkit.models import Model, create_model
from bnnkit.nn import Backend, CimConv2d, backend

ORIGIN_CODE_SIGMA = {1: 8.0, 2: 8.0, 3: 32.0, 4: 32.0}
BACKENDS: list[Backend] = ["reference", "torch", "packed"]
SETTINGS = [
    (1, 1, 1),
    (1, 1, 2),
    (1, 1, 4),
    (1, 1, "fp"),
    (2, 3, 1),
    (1.5, 1.5, 2),
    (4, 4, 3),
    ("fp", "fp", "fp"),
]
ROUNDED = [(2, 3, 1), (4, 4, 3), ("fp", "fp", "fp")]


def _close(got: Tensor, want: Tensor) -> Tensor:
    return (got - want).abs() <= 1e-4 * want.abs().max()


def _on_threshold(layer: CimConv2d, x: Tensor) -> Tensor:
    """Return which outputs have an array whose exact partial sum lies on a threshold of the converter."""
    bits = layer.adc_bit
    if not isinstance(bits, int) or layer.adc is None:
        return torch.zeros((), dtype=torch.bool)
    step = layer.adc.scale

    def near(ps: Tensor) -> Tensor:
        return ((torch.remainder(ps + step / 2, step) - step / 2).abs() < 1e-4).double()

    x_int = layer.reference_integers(x, layer.activation)
    w_int = layer.reference_integers(layer.weight, layer.weight_quantizer)
    count = reference.adc_conv2d(
        x_int,
        w_int,
        None,
        layer.stride,
        _padding(layer),
        layer.dilation,
        layer.groups,
        layer.array.mapping,
        layer.array.rows,
        layer.array.channels_per_array,
        near,
        layer.unit,
    )
    return count > 0


def _padding(layer: CimConv2d) -> tuple[int, int]:
    assert not isinstance(layer.padding, str)
    return layer.padding[0], layer.padding[1]


def _saturated(layer: CimConv2d) -> Tensor:
    """Return [M, 1, 1]: output channels that own a weight beyond the outermost level.

    The golden weights were drawn without the clamp to [-1, 1] that training applies; out there the origin's
    multi-bit staircase runs on, where a layer of 2^k levels saturates.
    """
    levels = layer.weight_quantizer.levels
    limit = 1 + 1 / (levels - 1) if levels > 3 else float("inf")
    return (layer.weight.abs() >= limit).flatten(1).any(1).view(-1, 1, 1)


@pytest.fixture(scope="module")
def quantizers(shared_golden: Path) -> Callable[[str], Tensor]:
    archive = np.load(shared_golden / "iga_quantizers.npz")
    return lambda name: torch.from_numpy(archive[name])


@pytest.mark.parametrize("bits", [1, 1.5, 2, 3, 4, 5])
def test_values(quantizers: Callable[[str], Tensor], bits: float) -> None:
    x = quantizers("x")
    assert torch.allclose(reference.quantize(x, bits), quantizers(f"quant_{bits}bit"), atol=2e-7, rtol=0)
    if bits < 5:
        gradient = reference.value_gradient(x, bits)
        assert torch.allclose(gradient, quantizers(f"quant_grad_{bits}bit"), atol=1e-6, rtol=0)


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_converters(quantizers: Callable[[str], Tensor], bits: int) -> None:
    ps = quantizers("partial_sum")
    for converted in (reference.adc(ps, bits, 128), Adc(bits, 128).convert(ps)):
        assert torch.allclose(converted, quantizers(f"adc_{bits}bit"), atol=2e-5, rtol=0)
    for sigma in (6, 5, 4, 2.5, 8, 32):
        table = Adc(bits, 128, sigma=sigma).gradient_table(1)
        assert torch.allclose(table, quantizers(f"adc_grad_{bits}bit_sigma{sigma}"), atol=1e-6, rtol=0)


def _case(golden: Path, index: int) -> tuple[CimConv2d, Callable[[str], Tensor]]:
    archive = np.load(golden / "iga_conv.npz")
    case = json.loads(str(archive["cases"]))[index]
    layer = CimConv2d(
        case["in_channels"],
        case["out_channels"],
        case["kernel"],
        case["stride"],
        case["padding"],
        ao_bit=case["ao_bit"],
        w_bit=case["w_bit"],
        adc_bit=case["adc_bit"],
        array=Array(128, channels_per_array=case["channels_per_array"]),
        adc_sigma=ORIGIN_CODE_SIGMA.get(case["adc_bit"]),
    )
    layer.load_state_dict({name: torch.from_numpy(archive[f"{case['id']}_{name[0]}"]) for name in ("weight", "bias")})
    return layer, lambda name: torch.from_numpy(archive[f"{case['id']}_{name}"])


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("index", range(8))
def test_convolutions(shared_golden: Path, index: int, name: Backend) -> None:
    layer, golden = _case(shared_golden, index)
    x = golden("x").requires_grad_()
    with backend(name):
        y = layer(x)
    y.backward(golden("gy"))
    close = _close(y.detach(), golden("y"))
    assert (close | _on_threshold(layer, x.detach())).all()
    if layer.weight_quantizer.unit == 1 and layer.activation.unit <= 2:
        assert close.all(), "sums of -1, 0 and 1 are exact in the origin too"
    assert x.grad is not None and layer.weight.grad is not None
    assert _close(x.grad, golden("gx")).all()
    assert _close(layer.weight.grad, golden("gw")).all()


def _network(
    golden: Path, state: dict[str, Tensor], ao_bit: Any, w_bit: Any, adc_bit: Any
) -> tuple[Model, Tensor, Tensor]:
    archive = np.load(golden / "iga_resnet_binary.npz")
    model = create_model("res20", ao_bit=ao_bit, w_bit=w_bit, adc_bit=adc_bit, channels_per_array=14).eval()
    importers.load("bnn-iga", model, state)
    number = ["32" if bits == "fp" else str(bits) for bits in (ao_bit, w_bit, adc_bit)]
    logits = archive[f"logits_ao{number[0]}_w{number[1]}_adc{number[2]}"]
    return model, torch.from_numpy(archive["x"]), torch.from_numpy(logits)


def _origin_staircase(x: Tensor, bits: Any, full_scale: float) -> Tensor:
    if bits == "fp":
        return x
    if bits == 1:
        return torch.where(x > 0, full_scale, -full_scale)
    if bits == 1.5:
        return (x >= 0.2).float() - (x <= -0.2).float()
    step = 2 * full_scale / (2**bits - 1)
    staircase: Tensor = -full_scale + step * ((x + step / 2 + full_scale) // step)
    return staircase


def _origin_forward(layer: CimConv2d, x: Tensor) -> Tensor:
    """Compute the layer in the origin's order of float32 roundings: slices of 14 channels, added up one by one."""
    x_q = _origin_staircase(x, layer.ao_bit, 1.0)
    w_q = _origin_staircase(layer.weight, layer.w_bit, 1.0)
    total = torch.zeros(())
    for x_s, w_s in zip(x_q.split(14, 1), w_q.split(14, 1), strict=True):
        ps = F.conv2d(x_s, w_s, None, layer.stride, layer.padding)
        total = total + _origin_staircase(ps, layer.adc_bit, 128.0)
    assert layer.bias is not None
    return total + layer.bias.view(1, -1, 1, 1)


@pytest.mark.parametrize("index", range(8))
def test_convolutions_in_the_origins_arithmetic(shared_golden: Path, index: int) -> None:
    layer, golden = _case(shared_golden, index)
    with torch.no_grad():
        y = _origin_forward(layer, golden("x"))
    assert (_close(y, golden("y")) | _on_threshold(layer, golden("x"))).all()


@pytest.fixture(scope="module")
def adds_like_the_origin(shared_golden: Path) -> bool:
    """Return whether torch adds on this processor in the order that computed the golden files."""
    layer, golden = _case(shared_golden, 5)
    assert layer.weight_quantizer.unit > 1, "a case whose sums are rounded"
    with torch.no_grad():
        return bool(_close(_origin_forward(layer, golden("x")), golden("y")).all())


@contextmanager
def _recorded(model: Model) -> Iterator[list[tuple[CimConv2d, Tensor, Tensor]]]:
    calls: list[tuple[CimConv2d, Tensor, Tensor]] = []
    handles = [
        layer.register_forward_hook(lambda m, i, o: calls.append((m, i[0].clone(), o.clone())))
        for layer in model.modules()
        if isinstance(layer, CimConv2d)
    ]
    yield calls
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("bits", SETTINGS, ids=str)
def test_network_in_the_origins_arithmetic(
    shared_golden: Path,
    origin_state: Callable[[str], dict[str, Tensor]],
    adds_like_the_origin: bool,
    bits: tuple[Any, Any, Any],
) -> None:
    if bits in ROUNDED and not adds_like_the_origin:
        pytest.skip("torch adds in another order on this processor than on the one of the golden logits")
    model, x, want = _network(shared_golden, origin_state("iga_resnet_binary.npz"), *bits)
    with torch.no_grad(), mock.patch.object(CimConv2d, "forward", _origin_forward):
        logits = model(x).log_softmax(1)
    assert (logits - want).abs().max() < 1e-3


@pytest.mark.parametrize("bits", SETTINGS, ids=str)
def test_each_layer_of_a_network(
    shared_golden: Path, origin_state: Callable[[str], dict[str, Tensor]], bits: tuple[Any, Any, Any]
) -> None:
    model, x, _ = _network(shared_golden, origin_state("iga_resnet_binary.npz"), *bits)
    with torch.no_grad(), _recorded(model) as calls, mock.patch.object(CimConv2d, "forward", _origin_forward):
        model(x)
    assert len(calls) == 18
    with torch.no_grad():
        for layer, inputs, outputs in calls:
            saturated = _saturated(layer)
            assert saturated.float().mean() < 0.1
            assert (_close(layer(inputs), outputs) | _on_threshold(layer, inputs) | saturated).all()


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("adc_bit", [1, "fp"])
def test_logits_of_the_binary_network(
    shared_golden: Path, origin_state: Callable[[str], dict[str, Tensor]], adc_bit: Any, name: Backend
) -> None:
    # One-bit operands with a sense amplifier or none: integers up to the batch norm, no rounding to amplify.
    model, x, want = _network(shared_golden, origin_state("iga_resnet_binary.npz"), 1, 1, adc_bit)
    with torch.no_grad(), backend(name):
        logits = model(x).log_softmax(1)
    assert (logits - want).abs().max() < 1e-3
