"""FracBNN's own code answered these; bnnkit must answer the same, gradients included."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bnnkit import importers
from bnnkit.models import create_model
from bnnkit.nn import Backend, GatedConv2d, backend, take_gates
from bnnkit.quantizers import Nearest, Sign
from bnnkit.reference import thermometer

BACKENDS: list[Backend] = ["reference", "torch", "packed"]


@pytest.fixture
def golden(shared_golden: Path) -> Any:
    return np.load(shared_golden / "fracbnn_layers.npz")


def tensor(golden: Any, name: str) -> Tensor:
    return torch.from_numpy(golden[name])


def close(got: Tensor, want: Tensor) -> bool:
    return bool(((got - want).abs() <= 1e-4 * want.abs().max()).all())


@pytest.mark.parametrize("bits", [2, 4])
def test_activations(golden: Any, bits: int) -> None:
    x = tensor(golden, "x").requires_grad_()
    y = Nearest(bits, "clip")(x)
    y.sum().backward()
    want = tensor(golden, f"quant_sign_{bits}bit")
    levels = 2**bits - 1
    assert torch.equal(((y + 1) / 2 * levels).round(), ((want + 1) / 2 * levels).round())
    assert (y - want).abs().max() < 1e-6
    assert x.grad is not None
    assert torch.equal(x.grad, tensor(golden, "quant_sign_grad"))


def test_sign_of_weights(golden: Any) -> None:
    x = tensor(golden, "x").requires_grad_()
    y = Sign("clip", reach=1.3)(x)
    y.sum().backward()
    zeros = x == 0  # the origin leaves them as they are
    assert torch.equal(y[~zeros], tensor(golden, "sign")[~zeros])
    assert x.grad is not None
    assert torch.equal(x.grad, tensor(golden, "sign_grad"))


def test_thermometer(golden: Any) -> None:
    assert torch.equal((thermometer(tensor(golden, "image_u8")) > 0).byte(), tensor(golden, "thermometer"))


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("index", range(5))
def test_gated_convolution(golden: Any, index: int, name: Backend) -> None:
    case = json.loads(str(golden["cases"]))[index]
    shape = (case["in_channels"], case["out_channels"], case["kernel"], case["stride"], case["padding"])
    layer = GatedConv2d(*shape, w_bit=1, adc_bit="fp")
    with torch.no_grad():
        layer.weight.copy_(tensor(golden, f"{index}_w"))
        layer.threshold.copy_(tensor(golden, f"{index}_threshold").flatten())
    x = tensor(golden, f"{index}_x").requires_grad_()
    with backend(name):
        y = layer(x)
        y.backward(tensor(golden, f"{index}_gy"))
        evaluated = layer.eval()(x.detach())
    gates = take_gates(layer)
    assert gates is not None
    assert (gates.open, gates.outputs) == (case["num_high"], case["num_out"])
    assert x.grad is not None
    assert layer.weight.grad is not None
    assert layer.threshold.grad is not None
    assert close(y, tensor(golden, f"{index}_y"))
    assert close(evaluated, tensor(golden, f"{index}_y"))
    assert close(x.grad, tensor(golden, f"{index}_gx"))
    assert close(layer.weight.grad, tensor(golden, f"{index}_gw"))
    assert close(layer.threshold.grad, tensor(golden, f"{index}_gthreshold").flatten())


@pytest.mark.parametrize("name", BACKENDS)
def test_network(shared_golden: Path, origin_state: Callable[[str], dict[str, Tensor]], name: Backend) -> None:
    golden = np.load(shared_golden / "fracbnn_resnet20.npz")
    model = importers.load("fracbnn", create_model("fracbnn20"), origin_state("fracbnn_resnet20.npz")).eval()
    with torch.no_grad(), backend(name):
        logits = model(torch.from_numpy(golden["image_u8"]).float() / 255)
    want = torch.from_numpy(golden["logits"])
    assert (logits - want).abs().max() <= 1e-3 * want.abs().max().clamp_min(1)
