"""Gradient estimators: each is the derivative of the function its paper names."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bnnkit.models import create_model
from bnnkit.nn import CimConv2d, backend, set_progress
from bnnkit.quantizers import GRADIENTS, Binary, MultiLevel, Nearest, Sign, Ternary, make
from bnnkit.reference import nearest_code

X = torch.linspace(-2, 2, 401, dtype=torch.float64)


def bi_real(x: Tensor) -> Tensor:
    """The piecewise polynomial of Bi-Real Net."""
    inside = torch.where(x < 0, 2 * x + x * x, 2 * x - x * x)
    return torch.where(x.abs() < 1, inside, x.sign())


def ede(progress: float) -> Callable[[Tensor], Tensor]:
    t = 0.1 * 100**progress
    return lambda x: max(1 / t, 1) * torch.tanh(t * x)


SURROGATES: list[tuple[str, float, Callable[[Tensor], Tensor]]] = [
    ("clip", 0.0, lambda x: x.clamp(-1, 1)),
    ("polynomial", 0.0, bi_real),
    ("sigmoid", 0.0, lambda x: 2 * torch.sigmoid(3 * x) - 1),
    ("ede", 0.0, ede(0.0)),
    ("ede", 0.5, ede(0.5)),
    ("ede", 1.0, ede(1.0)),
]


def test_all_are_known_and_explained() -> None:
    assert list(GRADIENTS) == ["clip", "ede", "iga", "polynomial", "sigmoid", "ste"]
    for name in GRADIENTS:
        assert "Paper:" in (GRADIENTS.get(name).__doc__ or "")


@pytest.mark.parametrize(("name", "progress", "function"), SURROGATES, ids=lambda value: str(value))
def test_sign_has_the_derivative_of_its_surrogate(
    name: str, progress: float, function: Callable[[Tensor], Tensor]
) -> None:
    quantizer = Sign(name)
    quantizer.progress = progress
    x = X.clone().requires_grad_()
    quantizer(x).sum().backward()
    step = 1e-6
    derivative = (function(X + step) - function(X - step)) / (2 * step)
    smooth = ((X.abs() - 1).abs() > 1e-3) & (X.abs() > 1e-3)  # the kinks
    assert x.grad is not None
    assert (x.grad - derivative)[smooth].abs().max() < 1e-3


def test_straight_through_is_one() -> None:
    assert Binary("ste").slope(X) is None


@pytest.mark.parametrize("name", ["polynomial", "sigmoid", "ede"])
@pytest.mark.parametrize("quantizer", [Ternary, lambda name: MultiLevel(2, name), lambda name: MultiLevel(4, name)])
def test_every_threshold_of_several_levels_is_a_sign(name: str, quantizer: Callable[[str], MultiLevel]) -> None:
    several, sign = quantizer(name), Sign(name)
    distance = torch.linspace(-0.4, 0.4, 9)
    for threshold in several.thresholds:
        found, expected = several.slope(threshold + distance / several.unit), sign.slope(distance)
        assert found is not None
        assert expected is not None
        assert torch.allclose(found, expected, atol=1e-4)


def test_annealing_reaches_every_layer() -> None:
    model = create_model("res20", width=1, value_gradient="ede")
    set_progress(model, 0.25)
    layers = [layer for layer in model.modules() if isinstance(layer, CimConv2d)]
    assert {layer.activation.progress for layer in layers} == {0.25}
    assert {layer.weight_quantizer.progress for layer in layers} == {0.25}


@pytest.mark.parametrize("name", list(GRADIENTS))
def test_backends_agree_on_gradients(name: str) -> None:
    torch.manual_seed(1)
    layer = CimConv2d(5, 4, 3, ao_bit=1, w_bit=1, adc_bit=2, value_gradient=name)
    x = torch.randn(2, 5, 6, 6)
    found = []
    for used in ("reference", "torch", "packed"):
        inputs = x.clone().requires_grad_()
        layer.zero_grad()
        with backend(used):  # type: ignore[arg-type]
            layer(inputs).square().sum().backward()
        assert inputs.grad is not None
        assert layer.weight.grad is not None
        found.append((inputs.grad, layer.weight.grad.clone()))
    for inputs_grad, weight_grad in found[1:]:
        assert torch.allclose(inputs_grad, found[0][0], rtol=1e-3, atol=1e-3)
        assert torch.allclose(weight_grad, found[0][1], rtol=1e-3, atol=1e-3)


@given(st.floats(-1.5, 1.5, width=32), st.sampled_from([2, 4]))
def test_nearest_levels_round_halves_to_even(x: float, bits: int) -> None:
    value = torch.tensor([x])
    assert Nearest(bits).code(value).item() == nearest_code(value, bits).item()


@pytest.mark.parametrize("bits", [2, 4])
def test_nearest_levels_around_every_threshold(bits: int) -> None:
    quantizer = Nearest(bits)
    for threshold in quantizer.thresholds:
        at = torch.tensor(threshold)
        below, above = torch.nextafter(at, torch.tensor(-9.0)), torch.nextafter(at, torch.tensor(9.0))
        around = torch.stack([below, at, above])
        assert torch.equal(quantizer.code(around).float(), nearest_code(around, bits))


def test_zero_is_positive_for_the_later_systems_only() -> None:
    zeros = torch.tensor([0.0, -0.0])
    assert Sign()(zeros).tolist() == [1.0, 1.0]
    assert make(1)(zeros).tolist() == [-1.0, -1.0]
