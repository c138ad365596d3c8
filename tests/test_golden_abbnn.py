"""A&B BNN's own code answered these; bnnkit must answer the same, gradients included."""

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
from bnnkit.nn import Backend, ScaledCimConv2d, backend
from bnnkit.nn.activations import ShiftRPReLU
from bnnkit.quantizers import Sign

BACKENDS: list[Backend] = ["reference", "torch", "packed"]


@pytest.fixture
def golden(shared_golden: Path) -> Any:
    return np.load(shared_golden / "abbnn_layers.npz")


def tensor(golden: Any, name: str) -> Tensor:
    return torch.from_numpy(golden[name])


def close(got: Tensor, want: Tensor) -> bool:
    return bool(((got - want).abs() <= 1e-4 * want.abs().max()).all())


def test_sign_and_its_gradient(golden: Any) -> None:
    x = tensor(golden, "x").requires_grad_()
    y = Sign("sigmoid")(x)
    y.sum().backward()
    zeros = x == 0  # the origin leaves them as they are
    assert torch.equal(y[~zeros], tensor(golden, "sign")[~zeros])
    assert x.grad is not None
    assert close(x.grad, tensor(golden, "sign_grad"))


def test_activation_with_slopes_of_powers_of_two(golden: Any) -> None:
    layer = ShiftRPReLU(6)
    with torch.no_grad():
        layer.log2_slope.copy_(tensor(golden, "qprelu_log2_slope"))
    x = tensor(golden, "qprelu_x").requires_grad_()
    y = layer(x)
    assert torch.equal(y, tensor(golden, "qprelu_y"))
    y.backward(torch.ones_like(y) if "qprelu_gy" not in golden else tensor(golden, "qprelu_gy"))
    assert x.grad is not None
    assert layer.log2_slope.grad is not None
    assert close(x.grad, tensor(golden, "qprelu_gx"))
    assert close(layer.log2_slope.grad, tensor(golden, "qprelu_glog2"))


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("index", range(3))
def test_binary_convolution(golden: Any, index: int, name: Backend) -> None:
    case = json.loads(str(golden["cases"]))[index]
    shape = (case["in_channels"], case["out_channels"], case["kernel"], case["stride"], case["padding"])
    layer = ScaledCimConv2d(*shape, ao_bit=1, w_bit=1, adc_bit="fp")
    layer.activation = Sign()  # the origin's layer reads values that are signs already
    with torch.no_grad():
        layer.weight.copy_(tensor(golden, f"{index}_w"))
        layer.gain.copy_(tensor(golden, f"{index}_gain"))
    x = tensor(golden, f"{index}_x").requires_grad_()
    if not set(x.detach().unique().tolist()) <= {-1.0, 1.0}:
        pytest.fail("the golden input was expected to be signs")
    with backend(name):
        y = layer(x)
        y.backward(tensor(golden, f"{index}_gy"))
    assert x.grad is not None
    assert layer.weight.grad is not None
    assert layer.gain.grad is not None
    assert close(y, tensor(golden, f"{index}_y"))
    assert close(x.grad, tensor(golden, f"{index}_gx"))
    assert close(layer.weight.grad, tensor(golden, f"{index}_gw"))
    assert close(layer.gain.grad, tensor(golden, f"{index}_ggain"))


def test_network(shared_golden: Path, origin_state: Callable[[str], dict[str, Tensor]]) -> None:
    golden = np.load(shared_golden / "abbnn_reactnet18_step2.npz")
    state = origin_state("abbnn_reactnet18_step2.npz")
    model = importers.load("ab-bnn", create_model("reactnet18"), state).train()
    with torch.no_grad():
        logits = model(torch.from_numpy(golden["x"]))
    want = torch.from_numpy(golden["logits"])
    assert (logits - want).abs().max() <= 1e-3 * want.abs().max().clamp_min(1)
